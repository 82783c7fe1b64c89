from __future__ import annotations

from django.urls import path

from . import views

app_name = "conversations"
urlpatterns = [
    path("", views.conversation_list, name="conversation-list"),
    path("c/", views.conversation_create, name="conversation-create"),
    path("c/<uuid:pk>/", views.conversation_detail, name="conversation-detail"),
    path("c/<uuid:pk>/changes/", views.conversation_changes, name="conversation-changes"),
    path("c/<uuid:pk>/model/", views.conversation_model, name="conversation-model"),
    path("c/<uuid:pk>/delete/", views.conversation_delete, name="conversation-delete"),
    path("c/<uuid:pk>/messages/", views.message_create, name="message-create"),
    path("messages/<int:pk>/retry/", views.message_retry, name="message-retry"),
    path("messages/<int:pk>/continue/", views.message_continue, name="message-continue"),
    path("messages/<int:pk>/stop/", views.message_stop, name="message-stop"),
    path("sidebar/", views.sidebar, name="sidebar"),
]

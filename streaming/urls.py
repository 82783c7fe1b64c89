from __future__ import annotations

from django.urls import path

from . import views

app_name = "streaming"

urlpatterns = [
    path("chat-stream", views.chat_stream, name="chat-stream"),
    path("streams/<str:pk>", views.stream_read, name="stream"),
    path("streams/<str:pk>/stop", views.stream_stop, name="stop"),
]

from __future__ import annotations

from django.urls import path

from . import branch_views, queue_views, settings_views, sidebar_views, views

app_name = "conversations"
urlpatterns = [
    path("", views.conversation_list, name="conversation-list"),
    path("c/", views.conversation_create, name="conversation-create"),
    path("c/delete/", sidebar_views.delete_all, name="delete-all"),
    path("c/<uuid:pk>/", views.conversation_detail, name="conversation-detail"),
    path("c/<uuid:pk>/changes/", views.conversation_changes, name="conversation-changes"),
    path(
        "c/<uuid:pk>/download.<str:kind>",
        sidebar_views.conversation_download,
        name="conversation-download",
    ),
    path("c/<uuid:pk>/earlier/", views.conversation_earlier, name="conversation-earlier"),
    path("c/<uuid:pk>/later/", views.conversation_later, name="conversation-later"),
    path("c/<uuid:pk>/model/", views.conversation_model, name="conversation-model"),
    path("c/<uuid:pk>/options/", sidebar_views.conversation_options, name="conversation-options"),
    path("c/<uuid:pk>/rename/", sidebar_views.conversation_rename, name="conversation-rename"),
    path("c/<uuid:pk>/pin/", sidebar_views.conversation_pin, name="conversation-pin"),
    path("c/<uuid:pk>/archive/", sidebar_views.conversation_archive, name="conversation-archive"),
    path("c/<uuid:pk>/delete/", sidebar_views.conversation_delete, name="conversation-delete"),
    path("c/<uuid:pk>/restore/", sidebar_views.conversation_restore, name="conversation-restore"),
    path("c/<uuid:pk>/read/", sidebar_views.conversation_read, name="conversation-read"),
    path("c/<uuid:pk>/messages/", views.message_create, name="message-create"),
    path("c/<uuid:pk>/queue/<int:number>/edit/", queue_views.queued_edit, name="queued-edit"),
    path(
        "c/<uuid:pk>/queue/<int:number>/withdraw/",
        queue_views.queued_withdraw,
        name="queued-withdraw",
    ),
    path("c/<uuid:pk>/queue/<int:number>/send/", queue_views.queued_send, name="queued-send"),
    path("messages/<int:pk>/", branch_views.message_detail, name="message-detail"),
    path("messages/<int:pk>/edit/", branch_views.message_edit, name="message-edit"),
    path("messages/<int:pk>/retry/", views.message_retry, name="message-retry"),
    path("messages/<int:pk>/continue/", views.message_continue, name="message-continue"),
    path("messages/<int:pk>/stop/", views.message_stop, name="message-stop"),
    path("messages/<int:pk>/show/", branch_views.message_show, name="message-show"),
    path("messages/<int:pk>/text/", branch_views.message_text, name="message-text"),
    path("messages/<int:pk>/rate/", branch_views.message_rate, name="message-rate"),
    path("messages/<int:pk>/fork/", branch_views.message_fork, name="message-fork"),
    path(
        "c/<uuid:pk>/settings/", settings_views.conversation_settings, name="conversation-settings"
    ),
    path("settings/", settings_views.settings_page, name="settings"),
    path("settings/answers/", settings_views.answers, name="settings-answers"),
    path("settings/appearance/", settings_views.appearance, name="settings-appearance"),
    path("settings/prompts/", settings_views.persona_create, name="persona-create"),
    path("settings/prompts/<int:pk>/", settings_views.persona_detail, name="persona-detail"),
    path("settings/prompts/<int:pk>/delete/", settings_views.persona_delete, name="persona-delete"),
    path("settings/keys/", settings_views.key_create, name="key-create"),
    path("settings/keys/<int:pk>/test/", settings_views.key_test, name="key-test"),
    path("settings/keys/<int:pk>/delete/", settings_views.key_delete, name="key-delete"),
    path("search/", sidebar_views.search, name="search"),
    path("sidebar/", sidebar_views.sidebar, name="sidebar"),
]

from __future__ import annotations

from django.urls import include, path

from .reports import views

urlpatterns = [
    path("", include("streaming.urls")),
    path("reports/", views.report_list, name="report-list"),
    path("reports/<uuid:pk>/", views.report_detail, name="report-detail"),
]

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

import streaming
from streaming.models import Stream


def report_list(request: HttpRequest) -> HttpResponse:
    """The form for a new report, and what it leads to."""
    if request.method != "POST":
        return render(request, "reports/report_list.html")
    stream = streaming.create(
        "reports.summary",
        {"subject": request.POST["subject"]},
        autostart="later" not in request.POST,
    )
    return redirect("report-detail", pk=stream.pk)


def report_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    stream = get_object_or_404(Stream, pk=pk, generator="reports.summary")
    return render(request, "reports/report_detail.html", {"stream": stream})

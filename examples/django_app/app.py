"""Django with durable workflows beside it in one ASGI process; README.md says how to run it.

Django's ASGI application answers HTTP and nothing else: it knows no lifespan, so it can neither open an engine nor let
it finish. A Starlette application in front does that, mounts the engine's API and hands Django all other requests.
"""

import os

from django import forms
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from starlette.applications import Starlette
from starlette.routing import Mount

from pylon_workflows import (
    CallerError,
    EngineError,
    StoreError,
    UnknownInstanceError,
    WorkflowDefinition,
    WorkflowEngine,
    WorkflowError,
    create_app,
)

# The runner's URL is PYLON_WORKFLOW_RUNNER_URL, or http://127.0.0.1:9876/run.
engine = WorkflowEngine(database=os.environ.get("WORKFLOWS_DATABASE", "workflows.db"))
engine.register(WorkflowDefinition("onboarding", max_retries=3))

settings.configure(
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "this example signs nothing"),
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[f"{__name__}.EngineErrorMiddleware"],
)


class SignupForm(forms.Form):
    user = forms.RegexField(r"^[A-Za-z0-9_-]{1,64}$")
    pause = forms.CharField(required=False, max_length=20)


class ConfirmationForm(forms.Form):
    user = forms.RegexField(r"^[A-Za-z0-9_-]{1,64}$")
    via = forms.CharField(max_length=100)


@csrf_exempt  # programs call this one; behind a page's form the check stays
@require_POST
async def sign_up(request: HttpRequest) -> JsonResponse:
    """Start the workflow; the same signup again finds the instance that is there."""
    form = SignupForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    instance_id = await engine.start("onboarding", form.cleaned_data, id=f"onboarding-{form.cleaned_data['user']}")
    return JsonResponse({"id": instance_id}, status=202)


@csrf_exempt
@require_POST
async def confirmed(request: HttpRequest) -> JsonResponse:
    """Resume it. A webhook may come before anything waits for it, and twice: its id makes the second one harmless.

    A real one is verified first: whoever can call this confirms any user.
    """
    form = ConfirmationForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    user, data = form.cleaned_data["user"], {"via": form.cleaned_data["via"]}
    event_id = request.headers.get("webhook-id") or None
    receipt = await engine.send_event(f"onboarding-{user}", "user_confirmed", data, event_id=event_id)
    return JsonResponse({"ok": True, "duplicate": receipt.is_duplicate})


class EngineErrorMiddleware:
    """What the engine refuses is the caller's doing: a 4xx with its sentence.

    What it cannot do at this moment (no owner, a full disk) is a 503, so that a webhook's sender tries again.
    """

    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, _request, error):
        if isinstance(error, CallerError):
            return problem(404 if isinstance(error, UnknownInstanceError) else 409, error)
        if isinstance(error, (EngineError, StoreError)):
            return problem(503, error, {"retry-after": "5"})
        return None


def problem(status: int, error: WorkflowError, headers: dict[str, str] | None = None) -> JsonResponse:
    """As the engine's own API says it (RFC 9457)."""
    content = {"status": status, "detail": str(error), "code": error.code}
    return JsonResponse(content, status=status, headers=headers, content_type="application/problem+json")


urlpatterns = [path("signups", sign_up), path("webhooks/confirmed", confirmed)]

api = create_app(engine, token=os.environ.get("PYLON_WORKFLOW_TOKEN") or None)
application = Starlette(
    routes=[Mount("/api/workflows", api), Mount("/", get_asgi_application())],
    lifespan=engine.lifespan,  # opens the file, goes on with what is in it, drains on shutdown
)

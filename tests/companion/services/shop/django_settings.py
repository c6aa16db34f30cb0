"""Settings of `django_app.py`; `DJANGO_SETTINGS_MODULE` names them."""

from urllib.parse import urlsplit

from shop.settings import POSTGRES

_postgres = urlsplit(POSTGRES)

SECRET_KEY = "none"
ROOT_URLCONF = "django_app"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["rest_framework"]
MIDDLEWARE = []
USE_TZ = True
REST_FRAMEWORK = {"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _postgres.path.lstrip("/"),
        "USER": _postgres.username,
        "HOST": _postgres.hostname,
        "PORT": _postgres.port,
        "CONN_MAX_AGE": None,
    }
}

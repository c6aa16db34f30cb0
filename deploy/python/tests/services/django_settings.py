ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "django_app"
SECRET_KEY = "tested"

"""Prints an access token and a refresh token of Django's simplejwt for a user, by id, signed with the algorithm and the key given,
and otherwise as it comes."""

import json
import sys

from django.conf import settings

ALGORITHM, KEY, ID = sys.argv[1:]
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    SECRET_KEY="for nothing here",
    SIMPLE_JWT={"ALGORITHM": ALGORITHM, "SIGNING_KEY": KEY},
)

import django

django.setup()

from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import RefreshToken

refresh = RefreshToken.for_user(User(id=int(ID), username="john"))
print(json.dumps({"access": str(refresh.access_token), "refresh": str(refresh)}))

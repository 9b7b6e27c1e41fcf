"""The room of seed 001 as its own framework does it: Django Channels on PostgreSQL, on uvicorn.

    room.py postgres://user@host:port/database

Does for a text what Dragoman does, no more and no less: find the receiver and the thread of the two, store the message, note
it in the thread, tell both. Groups are in the memory of this one process, which is the fastest layer that Channels has.
"""

import socket
import sys
import uuid
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings

database = urlsplit(sys.argv[1])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database.path.lstrip("/"),
            "USER": database.username,
            "HOST": database.hostname,
            "PORT": database.port,
            "CONN_MAX_AGE": None,
        }
    },
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    USE_TZ=True,
)
django.setup()

import uvicorn  # noqa: E402
from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402


class User(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    fullname = models.TextField()

    class Meta:
        app_label = "room"


class Thread(models.Model):
    first = models.ForeignKey(User, models.PROTECT, related_name="+")
    second = models.ForeignKey(User, models.PROTECT, related_name="+")
    updated_at = models.DateTimeField()

    class Meta:
        app_label = "room"
        unique_together = ("first", "second")


class Chat(models.Model):
    thread = models.ForeignKey(Thread, models.PROTECT)
    sender = models.ForeignKey(User, models.PROTECT)
    message = models.TextField()
    timestamp = models.DateTimeField()

    class Meta:
        app_label = "room"


def store(sender_id, receiver_id, text):
    receiver = User.objects.get(pk=receiver_id)
    now = timezone.now()
    with transaction.atomic():
        first, second = sorted((sender_id, receiver.pk))
        thread, _ = Thread.objects.get_or_create(first_id=first, second_id=second, defaults={"updated_at": now})
        chat = Chat.objects.create(thread=thread, sender_id=sender_id, message=text, timestamp=now)
        Thread.objects.filter(pk=thread.pk).update(updated_at=now)
    return chat


class Room(AsyncJsonWebsocketConsumer):
    async def connect(self):
        # Whose token it is would be read from the token alone.
        self.user = uuid.UUID(parse_qs(self.scope["query_string"].decode())["token"][0])
        await self.channel_layer.group_add(f"user.{self.user}", self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        receiver = uuid.UUID(content["receiver_id"])
        chat = await database_sync_to_async(store)(self.user, receiver, content["message_body"])
        told = {
            "message_type": "text",
            "sender_id": str(self.user),
            "receiver_id": str(receiver),
            "message": chat.message,
            "timestamp": chat.timestamp.isoformat(),
            "created_msg_id": chat.pk,
        }
        await self.channel_layer.group_send(f"user.{receiver}", {"type": "tell", "told": {"action": "re_message", **told}})
        await self.channel_layer.group_send(f"user.{self.user}", {"type": "tell", "told": {"action": "conf_message", **told}})

    async def tell(self, event):
        await self.send_json(event["told"])


def main():
    with connection.schema_editor() as editor:
        for model in (User, Thread, Chat):
            if model._meta.db_table not in connection.introspection.table_names():
                editor.create_model(model)
    # The people whom the benchmark knows by their numbers.
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO room_user (id, fullname) SELECT u.uuid, p.name FROM users u JOIN partners p ON p.id = u.partner_id"
            " ON CONFLICT DO NOTHING"
        )
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(f"listens on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(Room.as_asgi(), log_level="error", ws_ping_interval=None, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


main()

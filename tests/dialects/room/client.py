"""Two clients with the websockets library, against the server at the address given, with a token and a uuid for each.

They say what the documentation's examples say, and upload a file in between as it tells.
"""

import asyncio
import json
import sys
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

ADDRESS, JOHN_TOKEN, JOHN, ADMIN_TOKEN, ADMIN = sys.argv[1:]
PLACE = {"sender_id", "receiver_id", "timestamp", "created_msg_id", "message_type", "action"}


def room(token):
    return connect(f"ws://{ADDRESS}/ws/chat/room/?token={token}", proxy=None)


def ask(path, token, body=None, kind=None):
    headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": kind} if kind else {})
    request = urllib.request.Request(f"http://{ADDRESS}{path}", body, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def upload(token, receiver, message, name, content):
    fields = {"receiver": receiver, "message": message}
    parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    parts.append(f'--x\r\nContent-Disposition: form-data; name="attached_file"; filename="{name}"\r\n\r\n{content}\r\n--x--\r\n')
    answer = ask("/chat/attachment/", token, "".join(parts).encode(), "multipart/form-data; boundary=x")
    return answer["entity"]["message"]["id"]


async def hear(socket):
    return json.loads(await asyncio.wait_for(socket.recv(), 60))


async def exchange(john, admin, said, keys):
    """What John says comes to both, in the same words but for the action."""
    await john.send(json.dumps(said))
    confirmed, heard = await hear(john), await hear(admin)
    assert confirmed.keys() == heard.keys() == PLACE | keys, (confirmed, heard)
    assert (confirmed.pop("action"), heard.pop("action")) == ("conf_message", "re_message")
    assert confirmed == heard, (confirmed, heard)
    assert (heard["sender_id"], heard["receiver_id"]) == (JOHN, ADMIN), heard
    return heard


async def main():
    async with room(JOHN_TOKEN) as john, room(ADMIN_TOKEN) as admin:
        await asyncio.gather(*[await john.ping(), await admin.ping()])
        text = {"action": "text_message", "message_body": "hello there", "receiver_id": ADMIN}
        heard = await exchange(john, admin, text, {"message"})
        assert (heard["message_type"], heard["message"]) == ("text", "hello there"), heard

        chat_id = await asyncio.to_thread(upload, JOHN_TOKEN, ADMIN, "this is the file", "hello.txt", "x" * 1024)
        keys = {"message_body", "attached_file_name", "attached_file_size"}
        heard = await exchange(john, admin, {"action": "file_message", "chat_id": chat_id}, keys)
        assert (heard["created_msg_id"], heard["attached_file_size"]) == (chat_id, "1.00KB"), heard

        profile = {"attached_profile_id": ADMIN, "receiver_id": ADMIN, "action": "user_profile_message"}
        heard = await exchange(john, admin, profile, {"message", "attached_profile"})
        assert (heard["message"], heard["attached_profile"]["fullname"]) == (None, "Admin user"), heard

        await john.send("not JSON")
        assert (await hear(john))["action"] == "error"

    history = await asyncio.to_thread(ask, f"/chat/messages/{ADMIN}/", JOHN_TOKEN)
    types = [message["message_type"] for message in history["data"]["messages"]]
    assert types == ["user_profile", "file", "text"], types

    async with room("garbage") as nobody:
        try:
            await nobody.recv()
            raise AssertionError("nobody is let in with that")
        except ConnectionClosedError as closed:
            assert closed.rcvd.code == 4003, closed


asyncio.run(main())
print("all well")

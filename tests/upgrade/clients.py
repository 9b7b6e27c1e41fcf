"""A release's program at work, and clients of every dialect."""

import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

from websockets.sync.client import connect

PROGRAM, WORK = sys.argv[2], pathlib.Path(sys.argv[3])
STORE = os.environ["DRAGOMAN_TEST_POSTGRES"]
FILES = WORK / "files"
# Handles must be good for as long as there are later versions.
CENTURY = 100 * 365 * 86_400
SETTINGS = {
    "BASE_URL": "http://chat.example.com",
    "FILES": f"file:{FILES}",
    "TOKENS__SECRET": "the secret with which the kept tokens were signed",
    "TOKENS__ACCESS_LIFETIME_SECONDS": CENTURY,
    "TOKENS__REFRESH_LIFETIME_SECONDS": CENTURY,
    "IM_CHAT__POLL_SECONDS": 2,
    "SOCKETS__FRAMES_BURST": 10_000,
    "STORAGE": STORE,
}
# Of the demo data's accounts, and of those that are added: the program takes no password as short as the first.
PASSWORD, OWN_PASSWORD = "123456", "a password"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment():
    return os.environ | {f"DRAGOMAN__{key}": str(value) for key, value in SETTINGS.items()}


def run(*arguments, said=""):
    """Runs a command of the program, and gives what it printed."""
    command = [PROGRAM, *arguments]
    return subprocess.run(command, env=environment(), cwd=WORK, input=said, text=True, check=True, capture_output=True).stdout


class Server:
    def __init__(self):
        with open(WORK / "log", "a") as log:
            command = [PROGRAM, "serve", "--demo", "--listen", "127.0.0.1:0"]
            self.process = subprocess.Popen(command, env=environment(), cwd=WORK, stdout=subprocess.PIPE, stderr=log, text=True)
        self.address = self.process.stdout.readline().strip().rpartition("http://")[2]
        assert self.address, (WORK / "log").read_text()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0, (WORK / "log").read_text()

    def fetch(self, path, body=None, method=None, **headers):
        """The headers and the bytes of an answer. A whole address is one that the server has told."""
        url = f"http://{self.address}{path.removeprefix(SETTINGS['BASE_URL'])}"
        request = urllib.request.Request(url, body, {key.replace("_", "-"): text for key, text in headers.items()}, method=method)
        try:
            with OPENER.open(request, timeout=60) as answer:
                return answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error}: {error.read()}") from error

    def post(self, path, body, **headers):
        headers, answer = self.fetch(path, json.dumps(body).encode(), Content_Type="application/json", **headers)
        return headers, json.loads(answer)


class Socket:
    def __init__(self, server, path):
        self.socket = connect(f"ws://{server.address}{path}", proxy=None, max_size=None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def say(self, frame):
        self.socket.send(json.dumps(frame))

    def ask(self, frame, is_answer):
        """Says something, and gives its answer; what else is told meanwhile is passed over."""
        self.say(frame)
        while not is_answer(told := json.loads(self.socket.recv(60))):
            pass
        return told


class Conversation(Socket):
    def __init__(self, person, thread):
        super().__init__(person.server, f"/conversations/{thread}/?token={person.access}")

    def send(self, content, local_id=None):
        """Gives the message's id."""
        frame = {"action": "send_message", "content": content} | ({"local_id": local_id} if local_id else {})
        told = self.ask(frame, lambda told: told["type"] == "chat_message" and told["message"]["content"] == content)
        return told["message"]["id"]


class Room(Socket):
    def __init__(self, person):
        super().__init__(person.server, f"/ws/chat/room/?token={person.access}")

    def send(self, action, **frame):
        return self.ask({"action": action, **frame}, lambda told: told["action"] == "conf_message")


class Desk(Socket):
    """A connection of the support chat, of the side whose routes begin so."""

    def __init__(self, person, side):
        super().__init__(person.server, f"/concierge?Auth={person.access}&deviceId=desk-{person.uid}")
        self.side = side

    def request(self, route, **body):
        route = f"{self.side}/{route}"
        return ask_desk(self, route, body)

    def send(self, session, content, **more):
        """Gives the message's id."""
        body = {"chatSessionId": session, "contentType": "TEXT", "messageContent": content} | more
        return self.request("send-message", **body)["chatMessage"]["id"]


def ask_desk(socket, route, body):
    frame = {"action": "api", "data": {"route": route, "body": body}}
    answer = socket.ask(frame, lambda told: told["channel"] == route)
    assert answer["status"] == 200, answer
    return answer["body"]


class Person:
    """One client of a user, with what it keeps: a cookie, and a pair of tokens."""

    def __init__(self, server, login, password=PASSWORD):
        self.server, self.login = server, login
        params = {"db": "odoo2", "login": login, "password": password}
        headers, answer = server.post("/web/session/authenticate", {"params": params})
        self.uid = answer["result"]["uid"]
        self.cookie = headers.get_all("Set-Cookie")[0].partition(";")[0].removeprefix("session_id=")
        _, tokens = server.post("/auth/token", {"login": login, "password": password})
        self.access, self.refresh = tokens["access"], tokens["refresh"]

    def kept(self):
        return {name: getattr(self, name) for name in ("uid", "login", "cookie", "access", "refresh")}

    def by_cookie(self):
        return {"Cookie": f"session_id={self.cookie}"}

    def by_token(self):
        return {"Authorization": f"Bearer {self.access}"}

    def read(self, way, at, asked):
        """Asks in one of the ways in which the tests ask, too: see `ask` in fixture.rs."""
        match way:
            case "call":
                return self.call(at, asked)
            case "get":
                return json.loads(self.server.fetch(at, **self.by_token())[1])
            case "conversation":
                with Conversation(self, at) as socket:
                    return socket.ask(asked, lambda told: told["type"] == "messages_fetched")
            case "concierge":
                with Socket(self.server, f"/concierge?Auth={self.access}&deviceId=device-{self.uid}") as socket:
                    return ask_desk(socket, at, asked)

    def call(self, path, params):
        _, answer = self.server.post(path, {"params": params}, **self.by_cookie())
        assert "error" not in answer, (path, answer)
        return answer.get("result")

    def messaging(self, route, **params):
        result = self.call(f"/api/messaging/{route}", params)
        assert "error" not in result, (route, result)
        return result

    def send(self, thread, body, **more):
        return self.messaging("message/send", thread_id=thread, body=body, **more)["message_id"]

    def post(self, uuid, body):
        posted = self.call("/im_chat/post", {"uuid": uuid, "message_type": "message", "message_content": body})
        assert type(posted) is int, posted

    def session(self, method, *args):
        """Calls a method of Odoo 8's `im_chat.session`."""
        return self.call("/web/dataset/call_kw", {"model": "im_chat.session", "method": method, "args": args, "kwargs": {}})

    def poll_bus(self, last):
        return self.call("/longpolling/poll", {"channels": [], "last": last})

    def newest_on_bus(self):
        """The largest id once this client has been told everything."""
        last = 1
        while told := self.poll_bus(last):
            last = max(notification["id"] for notification in told)
        return last

    def upload(self, path, headers, field, name, content, **fields):
        parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n' for key, text in fields.items()]
        parts.append(f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n')
        body = "".join(parts).encode() + content + b"\r\n--x--\r\n"
        return json.loads(self.server.fetch(path, body, Content_Type="multipart/form-data; boundary=x", **headers)[1])

    def attach(self, name, content):
        """Uploads an attachment that is to be sent, and gives its id."""
        return self.upload("/api/messaging/attachment/upload", self.by_cookie(), "file", name, content)["attachment_id"]

    def upload_in_room(self, receiver, message, name, content):
        """Uploads a file with its message, and gives that."""
        fields = {"receiver": receiver, "message": message}
        return self.upload("/chat/attachment/", self.by_token(), "attached_file", name, content, **fields)["entity"]["message"]

    def public_address(self, name, content=None):
        """The address at which everybody reads a picture; nobody if there is no content."""
        wish = {"filename": name, "mimeType": "image/png", "type": "chat-images"}
        urls = self.server.post("/file-new/get-upload-url", wish, **self.by_token())[1]["data"]["uploadUrlData"]
        if content is not None:
            self.server.fetch(urls["uploadURL"], content, "PUT", Content_Type="image/png")
        return urls["resourceUrl"]

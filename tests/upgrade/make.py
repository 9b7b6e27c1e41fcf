"""Fills a new store by a release's own program, and writes the fixture VERSION.sql.gz, VERSION.files and VERSION.json.

The database is dumped before answers are recorded, so that they are the program's answers on exactly this store.
"""

import base64
import datetime
import glob
import gzip
import hashlib
import itertools
import json
import pathlib
import random
import shutil
import subprocess
import sys

from clients import FILES, OWN_PASSWORD, PASSWORD, SETTINGS, STORE, WORK, Conversation, Desk, Person, Room, Server, run

VERSION, HERE = sys.argv[1], pathlib.Path(__file__).parent
# Of the demo data, where they are always the same.
ADMIN, JOHN, JANE, BOB = 2, 4, 6, 8
UUIDS = {
    ADMIN: "75140d72-8b20-4549-885c-20599badb486",
    JOHN: "302e305b-6e73-4f9c-bac7-551a92b106b0",
}
PAIR, TEAM, NEWS = 1, 2, 3
LOGINS = {
    "admin": "admin@gmail.com",
    "john": "john@example.com",
    "phone": "john@example.com",
    "jane": "jane@example.com",
    "bob": "bob@example.com",
    "kim": "kim@example.com",
    "deepak": "deepak@tis.co.th",
    "agent": "concierge@example.com",
}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WORDS = """where is the invoice for march we meet at nine please call me back thanks it works now déjà vu größer łódź
    спасибо 你好 مرحبا 👍 🎉 <b>bold</b> "quoted" it's 100% back\\slash &amp; https://example.com/a?b=c {json} $1 ;""".split()
DICE = random.Random(VERSION)
NUMBERS = itertools.count(1)


def text():
    """Something to say, which nobody says again."""
    lines = [" ".join(DICE.choices(WORDS, k=DICE.randint(1, 9))) for _ in range(DICE.choice([1, 1, 1, 1, 2]))]
    return f"{next(NUMBERS)}: " + "\n".join(lines)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def add_people(server):
    """Accounts and groups beside those of the demo data, and a client of everybody."""
    for login, name in [("kim@example.com", "Kim O'Hara"), ("gone@example.com", "Gone Away")]:
        run("user", "add", login, "--name", name, said=OWN_PASSWORD)
    run("user", "deactivate", "gone@example.com")
    (WORK / "picture.png").write_bytes(PNG)
    run("user", "picture", LOGINS["john"], str(WORK / "picture.png"))
    run("group", "add", "Support")
    run("group", "members", "Support", "--add", LOGINS["john"], LOGINS["kim"])
    added = {"kim": OWN_PASSWORD}
    return {name: Person(server, login, added.get(name, PASSWORD)) for name, login in LOGINS.items()}


def end_credentials(server):
    """A cookie that was given up, and a refresh token that was used."""
    left, renewed = Person(server, LOGINS["john"]), Person(server, LOGINS["jane"])
    left.call("/web/session/destroy", {})
    server.post("/auth/token/refresh", {"refresh": renewed.refresh})
    return {"cookie": left.cookie, "refresh": renewed.refresh}


def begin_conversations(admin, john, jane, kim):
    """One of each sort, beside those of the demo data."""
    project = {"name": "Project", "partner_ids": [ADMIN, JANE, BOB, kim.uid], "thread_type": "group"}
    project = john.messaging("thread/create", **project)["thread_id"]
    sms = admin.messaging("thread/create", name="SMS to Jane", partner_ids=[JANE], thread_type="sms")["thread_id"]
    document = {"user_to": JOHN, "doc_id": 7, "doc_model": "res.partner"}
    about = jane.call("/im_chat/api/get_or_create_session", document)["uuid"]
    news = admin.call("/im_chat/api/get_or_create_session_group", {"group": NEWS})["uuid"]
    for _ in range(10):
        admin.send(sms, text())
        admin.post(news, text())
        jane.post(about, text())
    jane.session("add_user", about, kim.uid)
    threads = {"pair": PAIR, "team": TEAM, "project": project}
    uuids = {name: john.session("session_info", [thread])["uuid"] for name, thread in threads.items()}
    return threads, uuids | {"about": about, "news": news}


def send_files(people, threads, uuids):
    """Files of each sort. Gives where their bytes are, and who may read them, if not everybody who knows the address."""
    admin, john, jane, bob = (people[name] for name in ("admin", "john", "jane", "bob"))
    page, data, other = b"<script>alert(1)</script>", DICE.randbytes(2_000), PNG + b"another"
    sent = [john.attach("invoice.txt", b"two\nlines\n"), john.attach("größe.html", page)]
    john.send(threads["team"], "two files", attachment_ids=sent)
    dot = admin.attach("dot.png", PNG)
    admin.send(threads["pair"], "", attachment_ids=[dot])
    regretted = john.attach("regretted.txt", page)
    john.send(threads["pair"], "one file too many", attachment_ids=[regretted])
    john.messaging(f"attachment/delete/{regretted}")
    unsent = jane.attach("unsent.png", other)
    in_room = bob.upload_in_room(UUIDS[JOHN], "as promised", "report.bin", data)
    with Room(bob) as room:
        shown = bob.upload_in_room(UUIDS[JOHN], "", "later.png", other)
        room.send("file_message", chat_id=shown["id"])
        room.send("user_profile_message", attached_profile_id=UUIDS[ADMIN], receiver_id=UUIDS[JOHN])
    invoice, html = (john.messaging(f"attachment/info/{file}") for file in sent)
    return [
        {"address": f"{invoice['url']}?access_token={invoice['access_token']}", "sha256": sha256(b"two\nlines\n")},
        {"address": invoice["url"], "by": "jane", "sha256": sha256(b"two\nlines\n")},
        {"address": f"{html['url']}?access_token={html['access_token']}", "sha256": sha256(page)},
        {"address": f"/api/messaging/attachment/{dot}", "by": "john", "sha256": sha256(PNG)},
        {"address": f"/api/messaging/attachment/{unsent}", "by": "jane", "sha256": sha256(other)},
        {"address": in_room["attached_file"], "sha256": sha256(data)},
        {"address": shown["attached_file"], "sha256": sha256(other)},
        {"address": f"/im_chat/image/{uuids['news']}/{JOHN}", "by": "admin", "sha256": sha256(PNG)},
    ]


def begin_support(deepak, agent, admin):
    """A session that was closed, one that an agent has joined, one that waits, and what was uploaded for them."""
    picture = deepak.public_address("512x512.png", PNG)
    unnamed = deepak.public_address("unnamed.png", PNG + b"unnamed")
    deepak.public_address("never-put.png")
    with Desk(deepak, "client") as tenant, Desk(agent, "backend") as desk, Desk(admin, "backend") as other:
        closed, joined, waiting = (
            tenant.request("init-chat-with-concierge", newSession=True)["chatSessionId"] for _ in range(3)
        )
        other.request("join-chat-session", chatSessionId=closed)
        for _ in range(3):
            tenant.send(closed, text())
            answer = other.send(closed, text())
        tenant.request("update-message-seen-at", chatSessionId=closed, messageId=answer)
        tenant.request("end-chat-with-concierge", chatSessionId=closed)
        tenant.send(joined, text())
        desk.request("join-chat-session", chatSessionId=joined)
        tenant.send(joined, picture, contentType="IMAGE", metadata={"filename": "512x512.png", "width": 1})
        unsent = tenant.send(joined, "to be unsent")
        tenant.send(waiting, text())
    sessions = {"closed": closed, "joined": joined, "waiting": waiting}
    files = [{"address": picture, "sha256": sha256(PNG)}, {"address": unnamed, "sha256": sha256(PNG + b"unnamed")}]
    return sessions, files, unsent


def talk(people, threads, uuids, support, rounds):
    """Everybody talks on, in every dialect."""
    admin, john, jane, bob, deepak, agent = (people[name] for name in ("admin", "john", "jane", "bob", "deepak", "agent"))
    with (
        Conversation(john, threads["pair"]) as pair,
        Conversation(bob, threads["team"]) as team,
        Room(admin) as room,
        Room(bob) as other_room,
        Desk(deepak, "client") as tenant,
        Desk(agent, "backend") as desk,
    ):
        for number in range(rounds):
            admin.send(threads["pair"], text())
            pair.send(text(), f"pair-{next(NUMBERS)}")
            john.post(uuids["pair"], text())
            room.send("text_message", message_body=text(), receiver_id=UUIDS[JOHN])
            jane.send(threads["team"], text())
            team.send(text(), f"team-{next(NUMBERS)}")
            admin.post(uuids["team"], text())
            if number % 2:
                bob.post(uuids["project"], text())
                john.post(uuids["about"], text())
                other_room.send("text_message", message_body=text(), receiver_id=UUIDS[JOHN])
            tenant.send(support["joined"], text(), metadata={"messageUid": f"desk-{next(NUMBERS)}", "lang": "th"})
            answer = desk.send(support["joined"], text())
            if number % 5 == 4:
                tenant.request("update-message-seen-at", chatSessionId=support["joined"], messageId=answer)


def settle(people, threads, uuids):
    """What people have for themselves: address books, windows, shelves, marks of what was read."""
    john, jane, bob = people["john"], people["jane"], people["bob"]
    john.call("/im_chat/api/user_chat_ab/add_users", {"user_ids": [JANE, BOB]})
    john.call("/im_chat/api/change_session_status", {"uuid": uuids["about"], "new_status": "favorite"})
    john.session("update_state", uuids["about"], "folded")
    bob.session("update_state", uuids["news"], "closed")
    bob.messaging("presence/update", status="away")
    jane.messaging("notifications/mark_all_read", thread_id=threads["team"])
    newest = john.messaging("messages", thread_id=threads["pair"], limit=30)["messages"]
    john.messaging("message/read", message_ids=[message["id"] for message in newest[20:]])
    people["phone"].messaging("poll/updates", timeout=0)


def keep_places(people, threads, uuids):
    """Where some are before the others go on; the answers are going to be what followed."""
    admin, john, jane = people["admin"], people["john"], people["jane"]
    john_last, jane_last = john.newest_on_bus(), jane.newest_on_bus()
    with Conversation(admin, threads["pair"]) as socket:
        # The last that John is told of is a signal, which is in no log.
        socket.say({"action": "typing", "is_typing": True})
        typing = john.poll_bus(john_last)
    assert [told["message"]["type"] for told in typing] == ["typing"], typing
    newest = john.messaging("messages", thread_id=threads["pair"], limit=1)["messages"][0]["id"]
    poll = {"thread_id": threads["pair"], "last_message_id": newest, "timeout": 0}
    bus = "/longpolling/poll"
    return {
        "bus": ask("john", "call", bus, {"channels": [uuids["pair"]], "last": typing[0]["id"]}),
        "bus_of_who_left": ask("jane", "call", bus, {"channels": [], "last": jane_last}),
        "messages": ask("john", "call", "/api/messaging/poll/messages", poll),
    }


def news(person):
    """The threads of which `poll/updates` tells; an answer tells a part of many."""
    threads = set()
    while (told := person.messaging("poll/updates", timeout=1))["has_updates"]:
        threads |= {update["thread_id"] for update in told["threads_with_updates"]}
    return sorted(threads)


def send_with_keys(people, threads, support):
    """The newest messages, each with a key by which a repeated send is told from a new message."""
    kept = []
    for name in ("john", "admin"):
        with Conversation(people[name], threads["pair"]) as socket:
            retry = {"by": name, "thread": threads["pair"], "content": f"once by {name}", "local_id": f"key of {name}"}
            kept.append(retry | {"id": socket.send(retry["content"], retry["local_id"])})
    body = {"chatSessionId": support["joined"], "contentType": "TEXT", "messageContent": "once", "metadata": {"messageUid": "key"}}
    with Desk(people["deepak"], "client") as tenant:
        sent = tenant.request("send-message", **body)["chatMessage"]["id"]
    return kept, {"by": "deepak", "body": body, "id": sent}


def fill(server):
    """Makes everything that is in the store, and gives what clients keep of it."""
    people = add_people(server)
    admin, john, jane, deepak = (people[name] for name in ("admin", "john", "jane", "deepak"))
    ended = end_credentials(server)
    threads, uuids = begin_conversations(admin, john, jane, people["kim"])
    files = send_files(people, threads, uuids)
    support, uploads, unsent = begin_support(deepak, people["agent"], admin)
    with Conversation(jane, threads["team"]) as socket:
        edited, deleted = socket.send("as it was at first"), socket.send("to be deleted")
    talk(people, threads, uuids, support, 80)
    settle(people, threads, uuids)

    polls = keep_places(people, threads, uuids)
    talk(people, threads, uuids, support, 5)
    with Conversation(jane, threads["team"]) as socket:
        edit = {"action": "edit_message", "message_id": edited, "content": "as it reads now"}
        socket.ask(edit, lambda told: told["type"] == "message.edited")
        socket.ask({"action": "delete_message", "message_id": deleted}, lambda told: told["type"] == "message.deleted")
    with Desk(deepak, "client") as tenant:
        tenant.request("delete-message", chatSessionId=support["joined"], messageId=unsent)
    assert jane.session("quit_user", uuids["project"]) is True
    admin.messaging("message/read", message_id=polls["messages"]["ask"]["last_message_id"])
    talk(people, threads, uuids, support, 3)
    retries, retry_at_desk = send_with_keys(people, threads, support)
    return people, {
        "people": {name: person.kept() for name, person in people.items()},
        "ended": ended,
        "issued": run("token", "issue", "--user", LOGINS["bob"]).strip(),
        "retries": retries,
        "retry_at_desk": retry_at_desk,
        "support": support,
        "deleted": ["to be deleted", "to be unsent"],
        "files": files + uploads,
        "polls": polls,
        "reads": reads(threads, uuids, support),
    }


def ask(by, way, at, asked=None):
    """What a client asks, and in which way: a call with its cookie, a GET with its token, or on a socket."""
    return {"by": by, "way": way, "at": at, "ask": asked}


def reads(threads, uuids, support):
    """What clients of each dialect show of the store. The first answer has times that later ones change."""
    pair, team, project = (threads[name] for name in ("pair", "team", "project"))
    page = "get-chat-messages?limit=40&page"
    yield ask("agent", "concierge", "backend/list-chat-sessions", {})
    yield ask("deepak", "concierge", "client/get-unread-msg-count", {})
    for session in support.values():
        yield ask("agent", "concierge", f"backend/{page}=1", {"chatSessionId": session})
    yield ask("deepak", "concierge", f"client/{page}=5", {"chatSessionId": support["joined"]})
    for by in ("admin", "john", "jane", "bob", "kim", "deepak"):
        for route in ("threads", "unread/count", "notifications/count"):
            yield ask(by, "call", f"/api/messaging/{route}", {})
    for by, params in [
        ("john", {"thread_id": pair, "limit": 60}),
        ("jane", {"thread_id": team, "limit": 30}),
        ("bob", {"thread_id": team, "limit": 20, "before_id": 100}),
        ("kim", {"thread_id": project, "limit": 20, "offset": 20}),
    ]:
        yield ask(by, "call", "/api/messaging/messages", params)
    yield ask("john", "call", f"/api/messaging/thread/participants/{project}", {})
    yield ask("admin", "call", "/api/messaging/partners/search", {"query": "o'h"})
    yield ask("kim", "call", "/im_chat/init", {})
    for by, route in [("john", "get_sessions"), ("bob", "get_sessions_group"), ("john", "user_chat_ab/get_users_from_book")]:
        yield ask(by, "call", f"/im_chat/api/{route}", {})
    for by, name in [("admin", "pair"), ("jane", "project"), ("jane", "about")]:
        yield ask(by, "call", "/im_chat/history", {"uuid": uuids[name], "limit": 20})
    for by, path in [
        ("bob", "/chat/user/threads/"),
        ("bob", f"/chat/messages/{UUIDS[JOHN]}/?limit=6"),
        ("john", f"/chat/messages/{UUIDS[ADMIN]}/?limit=6"),
        ("bob", f"/chat/thread/files/{team}/"),
    ]:
        yield ask(by, "get", path)
    yield ask("john", "conversation", pair, {"action": "fetch_messages", "limit": 40})
    yield ask("john", "conversation", team, {"action": "fetch_messages", "limit": 20, "before_id": "100"})


def dump():
    """The database as SQL that any PostgreSQL takes: without what is for psql, and without settings of one version."""
    programs = glob.glob("/usr/lib/postgresql/*/bin/pg_dump")
    program = max(programs, key=lambda path: int(path.split("/")[4]), default="pg_dump")
    command = [program, "--inserts", "--rows-per-insert=200", "--no-owner", "--no-privileges", STORE]
    dumped = subprocess.run(command, text=True, check=True, capture_output=True).stdout
    preamble, create, rest = dumped.partition("\nCREATE ")
    assert "SET " in preamble and create, preamble
    return create + "".join(line for line in rest.splitlines(keepends=True) if not line.startswith(("\\", "--")))


def lines(value, depth=0):
    """JSON with a line for each thing that somebody may look for."""
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if depth == 2 or len(plain) < 120 or isinstance(value, str):
        return plain
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"{json.dumps(key)}:{lines(item, depth + 1)}" for key, item in value.items()) + "\n}"
    return "[\n" + ",\n".join(lines(item, depth + 1) for item in value) + "\n]"


def main():
    began = datetime.datetime.now(datetime.timezone.utc)
    server = Server()
    people, kept = fill(server)
    server.stop()
    stopped = datetime.datetime.now(datetime.timezone.utc)
    with open(HERE / f"{VERSION}.sql.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        packed.write(dump().encode())
    shutil.rmtree(HERE / f"{VERSION}.files", ignore_errors=True)
    shutil.copytree(FILES, HERE / f"{VERSION}.files")

    server = Server()
    for person in people.values():
        person.server = server
    kept["reads"] = list(kept["reads"])
    for asked in [*kept["polls"].values(), *kept["reads"]]:
        asked["answer"] = people[asked["by"]].read(asked["way"], asked["at"], asked["ask"])
    kept["news"] = news(people["phone"])
    for file in kept["files"]:
        headers = people[file["by"]].by_cookie() if "by" in file else {}
        assert sha256(server.fetch(file["address"], **headers)[1]) == file["sha256"], file
    server.stop()
    times = {"began": began.isoformat(), "stopped": stopped.isoformat()}
    settings = {"base_url": SETTINGS["BASE_URL"], "secret": SETTINGS["TOKENS__SECRET"]}
    (HERE / f"{VERSION}.json").write_text(lines(times | settings | kept) + "\n")


main()

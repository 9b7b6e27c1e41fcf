"""OdooRPC against the server on the port given, which says that it is the version given.

With Odoo 10 and later OdooRPC logs in over /jsonrpc, and opens a session only for whoever asks; before, its login is a
session by itself.
"""

import sys

import odoorpc

PORT, VERSION = int(sys.argv[1]), sys.argv[2]
SESSION = {"db": "odoo2", "login": "admin@gmail.com", "password": "123456"}


def fails(error, call):
    """That a call raises OdooRPC's own error; gives it."""
    try:
        outcome = call()
    except error as raised:
        return raised
    raise AssertionError(f"it came back with {outcome!r}")


def threads():
    return odoo.json("/api/messaging/threads", {})["result"]["threads"]


def has_expired():
    return fails(odoorpc.error.RPCError, threads).info["code"] == 100


odoo = odoorpc.ODOO("127.0.0.1", port=PORT)
assert odoo.version == VERSION, odoo.version
assert has_expired()

# A wrong password lets nobody in, and leaves no half a login.
refused = fails(odoorpc.error.RPCError, lambda: odoo.login("odoo2", "admin@gmail.com", "wrong"))
assert str(refused) in ("Wrong login ID or password", "Access Denied"), refused
fails(odoorpc.error.InternalError, lambda: odoo.env)
denied = fails(odoorpc.error.RPCError, lambda: odoo.json("/web/session/authenticate", SESSION | {"password": "wrong"}))
assert denied.info["data"]["name"] == "odoo.exceptions.AccessDenied", denied.info
assert has_expired()

# The login gives it all that it looks for.
odoo.login("odoo2", "admin@gmail.com", "123456")
assert (odoo.env.uid, odoo.env.db) == (2, "odoo2"), (odoo.env.uid, odoo.env.db)
assert odoo.env.context["lang"] == "en_US", odoo.env.context
if not VERSION.startswith("9."):
    assert odoo.db.list() == ["odoo2"], odoo.db.list()
    me = odoo.execute("res.users", "read", [2], ["login"])
    assert me == [{"id": 2, "login": "admin@gmail.com"}], me
    unknown = fails(odoorpc.error.RPCError, lambda: odoo.execute("res.users", "nosuch", [2]))
    assert "nosuch" in str(unknown), unknown
    assert has_expired(), "this login is no session"
    odoo.json("/web/session/authenticate", SESSION)

# The session carries over to routes that Odoo does not have by itself.
names = sorted(thread["name"] for thread in threads())
assert names == ["Chat with John", "Team Group"], names

# After the logout there is nothing left of it. OdooRPC ends only the session that was its own login.
if not VERSION.startswith("9."):
    odoo.json("/web/session/destroy", {})
assert odoo.logout()
assert has_expired()

print("all well")

"""OdooRPC against the server on the port given."""

import sys

import odoorpc


def fails(error, call):
    """That a call raises OdooRPC's own error; gives it."""
    try:
        outcome = call()
    except error as raised:
        return raised
    raise AssertionError(f"it came back with {outcome!r}")


def threads():
    return odoo.json("/api/messaging/threads", {})["result"]["threads"]


odoo = odoorpc.ODOO("127.0.0.1", port=int(sys.argv[1]))
assert odoo.version == "17.0", odoo.version
assert odoo.db.list() == ["odoo2"], odoo.db.list()

# A wrong password lets nobody in, and leaves no half a login.
refused = fails(odoorpc.error.RPCError, lambda: odoo.login("odoo2", "admin@gmail.com", "wrong"))
assert str(refused) == "Wrong login ID or password", refused
fails(odoorpc.error.InternalError, lambda: odoo.env)

# The login gives it all that it looks for.
odoo.login("odoo2", "admin@gmail.com", "123456")
assert odoo.env.uid == 2, odoo.env.uid
assert odoo.env.db == "odoo2", odoo.env.db
assert odoo.env.context["lang"] == "en_US", odoo.env.context

# The session carries over to routes that Odoo does not have by itself.
names = sorted(thread["name"] for thread in threads())
assert names == ["Chat with John", "Team Group"], names

# What the server refuses, it raises.
unknown = fails(odoorpc.error.RPCError, lambda: odoo.execute("res.users", "nosuch", [2]))
assert "nosuch" in str(unknown), unknown

# After the logout there is nothing left of it.
assert odoo.logout()
expired = fails(odoorpc.error.RPCError, threads)
assert expired.info["code"] == 100, expired.info

print("all well")

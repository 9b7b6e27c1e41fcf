//! Intended differences from the recorded answers.

const TOKEN: &str = "access_token is a token that opens the file, where the addon always gives false";
const NO_DATABASE: &str = "one text for every database that is not served, as Odoo has it without a filter of databases";
const OLD_CLIENTS: &str = "session_id, which clients of Odoo 12 and before read here, and company_id come along";
const SPOKEN_TO_IN_JSON: &str = "an unknown route is answered in JSON where the request was JSON";
const METHODS: &str = "a method that a route does not have is 405 with Allow, on every route alike";
const OTHER_BUS: &str = "Odoo's own bus is none of the dialects";

/// Members of a message that the recorded edition of the addon does not have yet.
pub(super) const ADDED: [&str; 2] = ["reactions", "reply_to"];

/// Patterns of records (`*` at the end of a key or path), each with its reason. The first match counts.
pub(super) const DIFFERENCES: &[(&str, &str)] = &[
    ("/probe/*", "routes of an addon made for the recording; dialects/odoo tests the envelope on routes of ours"),
    ("threaded-websocket/ws_*", "no HTTP exchange, and of Odoo's own bus, which is none of the dialects"),
    ("threaded-core/authenticate_success", OLD_CLIENTS),
    ("threaded-core/authenticate_again_with_cookie", OLD_CLIENTS),
    ("threaded-core/get_session_info_ok", OLD_CLIENTS),
    ("dbfilter-one-db/authenticate_ok", OLD_CLIENTS),
    ("threaded-core/authenticate_params_list", "params that are no object are a TypeError, whatever is in them"),
    ("threaded-core/authenticate_get", METHODS),
    ("threaded-core/session_logout_json_post", METHODS),
    ("threaded-core/web_version_json_post", METHODS),
    ("threaded-core/get_on_json_route_without_methods_no_ctype", METHODS),
    ("threaded-core/options_json_route_no_cors", METHODS),
    ("threaded-core/options_http_upload_route", METHODS),
    ("threaded-core/session_account", "there are no accounts at odoo.com to lead to"),
    ("threaded-core/root_get", "there is no web client to lead to"),
    ("threaded-core/call_kw_access_error", "a model that is not kept here is the KeyError of an unknown one"),
    ("threaded-core/user_route_session_id_in_header", "two clients have only the header, and are let in with it"),
    ("threaded-core/unknown_route_json_post_with_session", SPOKEN_TO_IN_JSON),
    ("threaded-core/int_converter_mismatch", SPOKEN_TO_IN_JSON),
    ("threaded-core/longpolling_poll", "the bus of Odoo 8, which Odoo 17 has no more"),
    ("threaded-core/expect_100", "the recording is of the interim answer, which dialects/odoo tests byte by byte"),
    ("threaded-core/peek_notifications_*", OTHER_BUS),
    ("threaded-core/update_bus_presence", OTHER_BUS),
    ("dbfilter-one-db/authenticate_wrong_db", NO_DATABASE),
    ("dbfilter-one-db/authenticate_other_existing_db", NO_DATABASE),
    ("dbfilter-one-db/authenticate_empty_db", NO_DATABASE),
    ("threaded-messaging/message_send_body_list", "a list where a text belongs is an error; the addon prints Python"),
    ("threaded-messaging/message_send_body_whitespace", "a body of white space counts as none"),
    ("threaded-messaging/attachment_upload_ok", TOKEN),
    ("threaded-messaging/attachment_upload_empty_file", TOKEN),
    ("threaded-messaging/attachment_upload_error_no_session", "there is no login page to lead to"),
    ("threaded-messaging/attachment_info_png", TOKEN),
    ("threaded-messaging/messages_limit_zero", TOKEN),
    ("threaded-messaging/messages_limit_string", TOKEN),
    ("threaded-messaging/mark_all_read_not_participant_thread", "nobody marks threads of others; the addon lets them"),
    ("threaded-messaging/typing_start_unknown_thread", "typing is checked for its thread; the addon's is a stub"),
    ("threaded-messaging/typing_status_unknown", "typing is checked for its thread; the addon's is a stub"),
    ("threaded-messaging/presence_update_bad_status", "a status that does not exist is refused; the addon takes any word"),
    ("threaded-messaging/attachment_delete_error_unlinked", "an uploader may delete what hangs on no message yet"),
];

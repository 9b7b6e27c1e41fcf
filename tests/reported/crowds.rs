//! Tests of conversations with many people, and of searches in many people: their limits, their price, and the bounds of lists.

use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    support::{BOB, Backend, Client, JANE, JOHN, Server, Socket, token, until},
    with_every_backend,
};

const UID_OF_ADMIN: i64 = 2;
const UID_OF_JOHN: i64 = 4;
const UID_OF_JANE: i64 = 6;
const UID_OF_BOB: i64 = 8;
/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;
/// The demo data's group, which has four members.
const GROUP: i64 = 3;
/// The first partner id of a crowd, above those of the demo data.
pub(super) const FIRST: i64 = 100_000;
/// Most people of one conversation in a list.
const LISTED: usize = 100;

/// Adds users to the store, whose partner ids follow [`FIRST`].
pub(super) async fn add_people(server: &Server, people: i64) {
    const PARTNERS: &str = "INSERT INTO partners (id, name) SELECT $1 + n, 'Member ' || n FROM generate_series(0, $2 - 1) n";
    const USERS: &str = "INSERT INTO users
            (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
        SELECT 2 * $1 + n, gen_random_uuid(), 'member ' || n, '', $1 + n, 'user', '', '', '{}', now()
        FROM generate_series(0, $2 - 1) n";
    let mut database = PgConnection::connect(server.backend().url()).await.expect("the database is up");
    for statement in [PARTNERS, USERS] {
        sqlx::query(statement).bind(FIRST).bind(people).execute(&mut database).await.expect("they are new");
    }
}

fn crowd(people: i64) -> Value {
    json!({"name": "Everybody", "thread_type": "group", "partner_ids": (FIRST..FIRST + people).collect::<Vec<_>>()})
}

async fn refused(server: &Server, limit: &str) -> f64 {
    server.metric(&format!("dragoman_refused_total{{limit=\"{limit}\"}}")).await
}

fn model_call(model: &str, method: &str, args: &Value) -> Value {
    json!({"model": model, "method": method, "args": args, "kwargs": {}})
}

async fn participants(client: &Client, thread: &Value) -> usize {
    let listed = client.messaging(&format!("thread/participants/{thread}"), json!({})).await;
    listed["participants"].as_array().unwrap_or_else(|| panic!("{listed}")).len()
}

with_every_backend! {
    async fn a_conversation_has_a_limit_of_participants(backend) {
        const REFUSAL: &str = "participants must not be more than 3";
        let server = Server::builder(backend).set("LIMITS__PARTICIPANTS", 3).start().await;
        let john = server.log_in(JOHN).await;
        let create = async |ids: &[i64]| john.messaging("thread/create", json!({"name": "x", "partner_ids": ids})).await;
        let add = async |thread: &Value, id: i64| {
            john.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": id})).await
        };
        assert_eq!(create(&[UID_OF_ADMIN, UID_OF_JANE, UID_OF_BOB]).await["error"], REFUSAL);
        let thread = create(&[UID_OF_ADMIN, UID_OF_JANE, UID_OF_JOHN, UID_OF_JANE]).await["thread_id"].take();
        assert_eq!(add(&thread, UID_OF_BOB).await["error"], REFUSAL);
        assert_eq!(add(&thread, UID_OF_JANE).await["success"], true, "who is in it may be added again");
        assert_eq!(participants(&john, &thread).await, 3);
        assert_eq!(add(&json!(PAIR), UID_OF_JANE).await["success"], true);
        assert_eq!(add(&json!(PAIR), UID_OF_BOB).await["error"], REFUSAL);
        assert_eq!(participants(&john, &json!(PAIR)).await, 3);
        let session = john.call("/im_chat/api/get_or_create_session_group", json!({"group": GROUP})).await;
        assert_eq!(session["error"]["data"]["message"], REFUSAL, "{session}");
        assert_eq!(refused(&server, "participants").await, 4.0);
    }
}

#[tokio::test]
async fn a_list_shows_a_hundred_people_of_a_conversation() {
    const PEOPLE: i64 = 250;
    let server = Server::demo(Backend::postgres().await).await;
    add_people(&server, PEOPLE).await;
    let (jane, bob) = (server.log_in(JANE).await, server.log_in(BOB).await);
    let created = jane.messaging("thread/create", crowd(PEOPLE)).await;
    let thread = &created["thread_id"];
    let add = json!({"thread_id": thread, "partner_id": UID_OF_BOB});
    assert_eq!(jane.messaging("thread/add_participant", add).await["success"], true, "{created}");
    let everybody = usize::try_from(PEOPLE).expect("it is positive") + 2;

    let uids = |people: &Value| -> Vec<i64> {
        let people = people.as_array().unwrap_or_else(|| panic!("{people}"));
        people.iter().map(|person| person["id"].as_i64().expect("it has an id")).collect()
    };
    for (client, uid, place) in [(&jane, UID_OF_JANE, 0), (&bob, UID_OF_BOB, LISTED - 1)] {
        let threads = client.messaging("threads", json!({"thread_type": "group"})).await;
        let listed = threads["threads"].as_array().expect("it is a list").iter().find(|listed| listed["id"] == *thread);
        let listed = uids(&listed.unwrap_or_else(|| panic!("{threads}"))["participants"]);
        assert_eq!((listed.len(), listed[place]), (LISTED, uid), "the caller and those who joined first, in their order");
        assert_eq!(participants(client, thread).await, everybody);

        let sessions = client.result("/im_chat/api/get_sessions_group", json!({})).await;
        let sessions: Vec<_> = sessions.as_array().expect("it is a list").iter().map(|session| uids(&session["users"])).collect();
        assert!(sessions.contains(&listed), "{sessions:?}");
        let init = client.result("/im_chat/init", json!({})).await;
        let headers = init.as_array().expect("it is a list").iter().filter(|item| item[1]["users"].is_array());
        assert!(headers.map(|item| uids(&item[1]["users"])).any(|users| users == listed), "{init}");
        let info = model_call("im_chat.session", "session_info", &json!([[thread]]));
        let info = client.result("/web/dataset/call_kw", info).await;
        assert_eq!(uids(&info["users"]).len(), everybody, "what is asked for one session is whole");
    }
    let contacts = uids(&jane.result("/im_chat/api/init", json!({})).await);
    assert!((LISTED - 1..everybody - 1).contains(&contacts.len()), "{contacts:?}");
}

/// Presence right after connecting, on both kinds of sockets: of those who were seen last.
#[tokio::test]
async fn a_socket_tells_of_a_thousand_people() {
    const PEOPLE: i64 = 1_100;
    const TOLD: usize = 1_000;
    let server = Server::with_tokens(Backend::postgres().await).await;
    add_people(&server, PEOPLE).await;
    let jane = server.log_in(JANE).await;
    let created = jane.messaging("thread/create", crowd(PEOPLE)).await;
    let thread = created["thread_id"].as_i64().unwrap_or_else(|| panic!("{created}"));
    let add = json!({"thread_id": thread, "partner_id": UID_OF_BOB + 1});
    assert_eq!(jane.messaging("thread/add_participant", add).await["success"], true);
    server.log_in(BOB).await;
    for path in [format!("/conversations/{thread}/"), "/conversations/".into()] {
        let mut socket = Socket::open(server.socket_url(&format!("{path}?token={}", token(UID_OF_JANE)))).await;
        let mut heard = socket.heard_so_far().await;
        heard.retain(|told| told["type"] == "user_status");
        assert_eq!((heard.len(), &heard[0]["user_id"]), (TOLD, &json!(UID_OF_JANE.to_string())), "{path}");
        let uid = json!(UID_OF_BOB.to_string());
        let bob = heard.iter().find(|told| told["user_id"] == uid);
        assert_eq!(bob.map(|bob| &bob["status"]), Some(&json!("online")), "{path}");
    }
}

#[tokio::test]
async fn a_conversation_costs_by_its_people() {
    const PEOPLE: i64 = 250;
    let server = Server::builder(Backend::postgres().await)
        .set("LIMITS__USER__CONVERSATIONS_PER_SECOND", 1)
        .set("LIMITS__USER__CONVERSATIONS_BURST", 2)
        .start()
        .await;
    add_people(&server, PEOPLE).await;
    let john = server.log_in(JOHN).await;
    let create = async || john.post("/api/messaging/thread/create", &json!({"params": crowd(PEOPLE)})).await;
    // It costs three tokens, of which a burst holds two: a whole burst each time.
    until("a refusal", async || {
        create().await;
        let answer = create().await;
        let wait = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.parse::<u64>().ok()?;
        (wait == 2).then_some(())
    })
    .await;
    until("the next one", async || create().await.json()["result"]["success"].as_bool()).await;
}

#[tokio::test]
async fn a_search_in_all_people_costs_by_its_terms() {
    const PEOPLE: i64 = 500;
    let server = Server::builder(Backend::postgres().await).set("LIMITS__USER__SEARCHES_PER_SECOND", 1).start().await;
    add_people(&server, PEOPLE).await;
    let john = server.log_in(JOHN).await;
    let terms = |number| json!([vec![json!(["name", "ilike", "MEMBER"]); number]]);
    let count = async |number| {
        let count = model_call("res.partner", "search_count", &terms(number));
        john.call("/web/dataset/call_kw", count).await.get("result").cloned()
    };
    let begun = Instant::now();
    // 500 people and those of the demo data, times 256 terms: three tokens, of which there is one at once.
    assert_eq!(count(256).await, Some(PEOPLE.into()));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_900), "it waits for two tokens: {took:?}");
    assert_eq!(until("a token", async || count(1).await).await, PEOPLE);
}

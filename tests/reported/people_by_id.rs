//! Tests of lists of people by their ids: the number of people, their price, and the memory of many lists at once.

use reqwest::{Method, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::crowds::{FIRST, add_people};
use crate::{
    support::{Answer, Backend, Client, JANE, JOHN, Server, token, until},
    with_every_backend,
};

const MIB: usize = 1024 * 1024;
const PARTNER_OF_JOHN: i64 = 5;
/// Most people of a request, a list, and an address book.
const MOST: i64 = 10_000;
/// Most people whose look-up is free.
const FREE: i64 = 100;
/// Distance of a user's id from its partner's, in a crowd.
const USER: i64 = FIRST;

fn ids(people: i64) -> Vec<i64> {
    (FIRST..FIRST + people).collect()
}

fn uids(people: i64) -> Vec<i64> {
    (USER + FIRST..USER + FIRST + people).collect()
}

fn model_call(model: &str, method: &str, args: &Value) -> Value {
    json!({"model": model, "method": method, "args": args, "kwargs": {}})
}

/// The routes that look up people whose ids are given, with the words of their refusal of too many.
fn look_ups(ids: &[i64]) -> Vec<(&'static str, Value, &'static str)> {
    const RECORDS: &str = "More than 10000 records at a time cannot be read.";
    const PARTNERS: &str = "partner_ids must not name more than 10000 people";
    let read = |model: &str, method: &str| model_call(model, method, &json!([ids]));
    vec![
        ("/web/dataset/call_kw", read("res.partner", "read"), RECORDS),
        ("/web/dataset/call_kw", read("res.users", "read"), RECORDS),
        ("/web/dataset/call_kw", read("res.partner", "name_get"), RECORDS),
        ("/longpolling/im_status", json!({"partner_ids": ids}), PARTNERS),
        ("/api/messaging/presence/status", json!({"partner_ids": ids}), PARTNERS),
        ("/api/messaging/thread/create", json!({"name": "many", "partner_ids": ids}), PARTNERS),
    ]
}

/// The sentence of a refusal, in either form.
fn refusal(answer: &Value) -> &Value {
    if answer["error"].is_object() { &answer["error"]["data"]["message"] } else { &answer["result"]["error"] }
}

fn length(list: &Value) -> i64 {
    let list = list.as_array().unwrap_or_else(|| panic!("{list}"));
    i64::try_from(list.len()).expect("it is short")
}

with_every_backend! {
    async fn a_request_names_a_bounded_number_of_people(backend) {
        let server = Server::demo(backend).await;
        let john = server.log_in(JOHN).await;
        for (path, params, words) in look_ups(&ids(MOST + 1)) {
            let answer = john.call(path, params).await;
            assert_eq!(refusal(&answer), words, "{path}");
        }
        for route in ["add_users", "remove_users"] {
            let path = format!("/im_chat/api/user_chat_ab/{route}");
            let answer = john.call(&path, json!({"user_ids": ids(MOST + 1)})).await;
            assert_eq!(refusal(&answer), "user_ids must not name more than 10000 people", "{path}");
        }
        let repeated = vec![PARTNER_OF_JOHN; 10_001];
        for (path, params, _) in look_ups(&repeated) {
            let answer = john.call(path, params).await;
            assert_eq!(*refusal(&answer), Value::Null, "{path}: duplicates do not count");
        }
        let read = model_call("res.partner", "name_get", &json!([[PARTNER_OF_JOHN, 1_000_000, 3, PARTNER_OF_JOHN]]));
        let names = john.result("/web/dataset/call_kw", read).await;
        assert_eq!((&names[0][0], &names[1][0], length(&names)), (&json!(PARTNER_OF_JOHN), &json!(3), 2), "in the order given");
    }
}

#[tokio::test]
async fn a_look_up_of_many_people_costs_a_search() {
    let server = Server::builder(Backend::memory()).set("LIMITS__USER__SEARCHES_PER_SECOND", 1).start().await;
    let john = server.log_in(JOHN).await;
    let many = look_ups(&ids(FREE + 1)).into_iter();
    for ((path, many, _), (_, few, _)) in many.zip(look_ups(&ids(FREE))) {
        until("a refusal", async || {
            let answer = john.post(path, &json!({"params": many})).await;
            let is_refused = *refusal(&answer.json()) == "Too many searches, please wait";
            assert_eq!(answer.headers.contains_key(RETRY_AFTER), is_refused, "{path}: {answer:?}");
            is_refused.then_some(())
        })
        .await;
        let answer = john.call(path, few).await;
        assert_ne!(refusal(&answer), "Too many searches, please wait", "{path}: few are free");
    }
    let refused = server.metric("dragoman_refused_total{limit=\"user.searches_per_second\"}").await;
    assert!(refused >= 6.0, "{refused}");
}

#[tokio::test]
async fn a_list_of_many_people_costs_a_search() {
    let server = Server::builder(Backend::postgres().await).set("LIMITS__USER__SEARCHES_PER_SECOND", 1).start().await;
    add_people(&server, FREE + 1).await;
    let john = server.log_in(JOHN).await;
    let added = json!({"user_ids": uids(FREE + 1)});
    assert_eq!(john.result("/im_chat/api/user_chat_ab/add_users", added).await["status"], "success");
    let create = json!({"name": "many", "thread_type": "group", "partner_ids": ids(FREE + 1)});
    let thread = until("a token", async || john.messaging("thread/create", create.clone()).await.get("thread_id").cloned()).await;
    for (path, params) in [
        ("/im_chat/api/user_chat_ab/get_users_from_book", json!({})),
        ("/im_chat/api/init", json!({})),
        (&format!("/api/messaging/thread/participants/{thread}"), json!({})),
        ("/web/dataset/call_kw", model_call("im_chat.session", "session_info", &json!([[thread]]))),
    ] {
        let refused = async || {
            let answer = john.call(path, params.clone()).await;
            (*refusal(&answer) == "Too many searches, please wait").then_some(())
        };
        until(path, refused).await;
    }
}

#[tokio::test]
async fn an_address_book_and_the_list_of_others_are_bounded() {
    const CROWD: i64 = MOST + 1_000;
    let server = Server::demo(Backend::postgres().await).await;
    add_people(&server, CROWD).await;
    let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
    let add =
        async |client: &Client, uids: &[i64]| client.call("/im_chat/api/user_chat_ab/add_users", json!({"user_ids": uids})).await;
    let list = async |client: &Client, route: &str| client.result(&format!("/im_chat/api/user_chat_ab/{route}"), json!({})).await;
    const FULL: &str = "address book must not have more than 10000 people";
    let crowd = uids(CROWD);
    let (first, rest) = crowd.split_at(9_000);
    let (one, other) = tokio::join!(add(&jane, first), add(&jane, rest));
    let refused = [&one, &other].map(|answer| refusal(answer) == FULL);
    assert_ne!(refused[0], refused[1], "one of both fits: {one} {other}");

    assert_eq!(add(&john, &uids(MOST)).await["result"]["status"], "success");
    assert_eq!(refusal(&add(&john, &crowd[CROWD as usize - 1..]).await), FULL);
    assert_eq!(add(&john, &uids(1)).await["result"]["status"], "success", "who is in it may be added again");
    assert_eq!(length(&list(&john, "get_users_from_book").await), MOST);
    let others = list(&john, "get_all_users").await;
    assert!(length(&others) >= 1_000 && length(&others) < MOST, "{}", length(&others));
    let admin = server.log_in(crate::support::ADMIN).await;
    let others = list(&admin, "get_all_users").await;
    let listed: Vec<_> = others.as_array().expect("it is a list").iter().map(|user| user["id"].as_i64()).collect();
    assert_eq!(length(&others), MOST);
    assert!(listed.is_sorted() && listed.last() < Some(&crowd.last().copied()), "the first ones by rising id");
}

/// Without a reservation, an answer beyond the share of a user is refused.
#[tokio::test]
async fn a_list_of_people_reserves_its_memory() {
    const PEOPLE: i64 = 5_000;
    let server = Server::builder(Backend::postgres().await)
        .set("LIMITS__ANSWERS_BYTES", MIB / 2)
        .set("LIMITS__PARTICIPANTS", 0)
        .start()
        .await;
    add_people(&server, PEOPLE).await;
    let john = server.log_in(JOHN).await;
    let added = john.result("/im_chat/api/user_chat_ab/add_users", json!({"user_ids": uids(PEOPLE)})).await;
    assert_eq!(added["status"], "success");
    let create = json!({"name": "many", "thread_type": "group", "partner_ids": ids(PEOPLE)});
    let thread = john.messaging("thread/create", create).await["thread_id"].take();
    let jane = server.log_in(JANE).await;
    let filter = json!([[["name", "ilike", "member"]]]);
    for (client, path, params, list) in [
        (&john, "/web/dataset/call_kw", model_call("res.partner", "read", &json!([ids(PEOPLE)])), ""),
        (&john, "/web/dataset/call_kw", model_call("res.partner", "name_get", &json!([ids(PEOPLE)])), ""),
        (&john, "/web/dataset/call_kw", model_call("res.users", "search_read", &filter), ""),
        (&john, "/web/dataset/call_kw", model_call("res.users", "im_search", &json!(["member", PEOPLE])), "/not all"),
        (&john, "/web/dataset/call_kw", model_call("res.partner", "im_search", &json!(["member", PEOPLE])), ""),
        (&john, "/web/dataset/call_kw", model_call("im_chat.session", "session_info", &json!([[thread]])), "/users"),
        (&john, "/longpolling/im_status", json!({"partner_ids": ids(PEOPLE)}), ""),
        (&john, "/im_chat/api/user_chat_ab/get_users_from_book", json!({}), ""),
        (&john, "/im_chat/api/init", json!({}), ""),
        (&jane, "/im_chat/api/user_chat_ab/get_all_users", json!({}), ""),
        (&john, "/api/messaging/presence/status", json!({"partner_ids": ids(PEOPLE)}), "/presence"),
        (&john, &format!("/api/messaging/thread/participants/{thread}"), json!({}), "/participants"),
    ] {
        let answer = client.post(path, &json!({"params": params})).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let result = answer.json()["result"].take();
        match list {
            "/not all" => assert_eq!(length(&result), 1_000, "{path}"),
            list => assert!(length(result.pointer(list).expect("it has the list")) >= PEOPLE, "{path}"),
        }
    }
    until("the end of all answers", async || (server.metric("dragoman_answers_bytes").await == 0.0).then_some(())).await;
}

/// The lists of many users at once: each waits until the budget has room for it.
#[tokio::test]
async fn lists_of_many_users_at_once_stay_within_the_budget() {
    const USERS: i64 = 16;
    const BUDGET: usize = 32 * MIB;
    let server = Server::builder(Backend::postgres().await).with_tokens().set("TOKENS__USER_CLAIM_NAMES", "uid");
    let server = server.set("LIMITS__ANSWERS_BYTES", BUDGET).start().await;
    add_people(&server, MOST).await;
    let read = json!({"params": model_call("res.partner", "read", &json!([ids(MOST)]))}).to_string();
    let ask = |client: Client, user: i64| {
        let read = read.clone();
        async move {
            let request = client.request(Method::POST, "/web/dataset/call_kw").bearer_auth(token(USER + FIRST + user));
            Answer::of(request.header("Content-Type", "application/json").body(read)).await
        }
    };
    assert_eq!(length(&ask(server.client(), 0).await.json()["result"]), MOST);
    let alone = server.peak_memory_bytes();
    let mut asked: JoinSet<_> = (0..USERS).map(|user| ask(server.client(), user)).collect();
    let mut answered = 0;
    while let Some(answer) = asked.join_next().await {
        // A list that waits for too long is refused.
        let answer = answer.expect("it ends");
        assert!([200, 503].contains(&answer.status.as_u16()), "{answer:?}");
        answered += usize::from(answer.status == 200);
    }
    assert!(answered > 0, "some have their turn");
    let grown = server.peak_memory_bytes() - alone;
    assert!(grown < 2 * BUDGET as u64, "{USERS} lists take {} MiB more than one", grown / MIB as u64);
}

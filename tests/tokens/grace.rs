//! Tests of the grace of refresh tokens: within a time window, a few retries after a lost answer get new tokens.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{REFUSED, holder, text};
use crate::{
    on_every_backend,
    support::{Answer, Backend, JOHN, PASSWORD, Server},
};

async fn renew(server: &Server, refresh: &str) -> Answer {
    server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await
}

/// Renews a token; returns the new access token, which is valid, and the new refresh token.
async fn renewed(server: &Server, refresh: &str) -> [String; 2] {
    let answer = renew(server, refresh).await;
    assert_eq!(answer.status, 200, "{answer:?}: {}", server.log());
    let pair = ["access", "refresh"].map(|member| text(&answer.json(), member));
    assert!(counts(server, &pair[0]).await);
    pair
}

async fn counts(server: &Server, access: &str) -> bool {
    holder(server, access).await.status == 200
}

async fn log_in(server: &Server) -> [String; 2] {
    let pair = server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await.json();
    ["access", "refresh"].map(|member| text(&pair, member))
}

async fn assert_refused(server: &Server, refresh: &str) {
    let answer = renew(server, refresh).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (401, REFUSED));
}

/// Asserts that a refresh token is refused, which revokes its family and these access tokens.
async fn assert_ends(server: &Server, refresh: &str, accesses: &[&String]) {
    assert_refused(server, refresh).await;
    assert!(server.log().contains("used before: token family revoked"), "{}", server.log());
    for access in accesses {
        assert!(!counts(server, access).await);
    }
}

on_every_backend! {
    /// Simultaneous renewals, by a phone with a lost answer or by two tabs: both succeed.
    async fn two_who_renew_at_once_are_both_served(server) {
        for _ in 0..5 {
            let [access, refresh] = log_in(server).await;
            let both = tokio::join!(renewed(server, &refresh), renewed(server, &refresh));
            assert_ne!(both.0, both.1);
            let [_, next] = renewed(server, &both.1[1]).await;
            renewed(server, &next).await;
            renewed(server, &both.0[1]).await;
            assert!(counts(server, &access).await);
        }
    }

    async fn a_lost_answer_is_made_up_for_three_times_and_no_more(server) {
        let [access, refresh] = log_in(server).await;
        let [_, first] = renewed(server, &refresh).await;
        for _ in 0..3 {
            renewed(server, &refresh).await;
        }
        assert_refused(server, &refresh).await;
        assert!(counts(server, &access).await, "within the window nothing counts as stolen");
        renewed(server, &first).await;
    }

    /// Limit of a window: tokens issued by retries share its number of retries, so that their holder cannot renew for ever.
    async fn what_is_given_in_a_window_has_no_other_window(server) {
        let [access, first] = log_in(server).await;
        renewed(server, &first).await;
        let [_, second] = renewed(server, &first).await;
        renewed(server, &second).await;
        let [_, third] = renewed(server, &second).await;
        renewed(server, &third).await;
        renewed(server, &third).await;
        assert_refused(server, &second).await;
        assert!(counts(server, &access).await);
    }
}

/// Ages all tokens in the store.
async fn pass(database: &mut PgConnection, seconds: i32) {
    let update = "UPDATE refresh_tokens SET used_at = used_at - make_interval(secs => $1),
        grace_from = grace_from - make_interval(secs => $1)";
    sqlx::query(update).bind(f64::from(seconds)).execute(database).await.unwrap();
}

#[tokio::test]
async fn a_window_ends_and_begins_with_the_first_use_of_a_token() {
    let mut server = Server::demo(Backend::postgres().await).await;
    let mut database = PgConnection::connect(server.backend().url()).await.unwrap();
    let [_, first] = log_in(&server).await;
    renewed(&server, &first).await;
    pass(&mut database, 15).await;
    let [access, second] = renewed(&server, &first).await;
    // End of the first window; the retry within it did not extend it.
    pass(&mut database, 15).await;
    let [_, third] = renewed(&server, &second).await;
    let [_, again] = renewed(&server, &second).await;
    assert_ne!(third, again, "whose first use comes later has a window of its own");
    assert!(counts(&server, &access).await);
    assert_ends(&server, &first, &[&access]).await;

    let [access, first] = log_in(&server).await;
    renewed(&server, &first).await;
    let [_, given] = renewed(&server, &first).await;
    renewed(&server, &given).await;
    pass(&mut database, 30).await;
    assert_ends(&server, &given, &[&access]).await;
    server.stop().await;
}

//! Tests of the command line beside a running server: groups, members and pictures.

use reqwest::Method;
use serde_json::json;

use super::Person;
use crate::support::{ADMIN, BOB, Backend, JANE, JOHN, Server};

async fn server() -> Server {
    Server::demo(Backend::postgres().await).await
}

#[tokio::test]
async fn a_group_gets_members_and_its_session_has_them() {
    let mut server = server().await;
    let administer = async |arguments: &[&str]| server.backend().administer(arguments, "").await;
    let added = administer(&["group", "add", "Sales team"]).await;
    let id: i64 = added.trim().rsplit(' ').next().unwrap().trim_end_matches(')').parse().unwrap();
    assert_eq!(administer(&["group", "list"]).await, format!("3\tNews\n{id}\tSales team\n"));
    let members = administer(&["group", "members", "Sales team", "--add", JANE, BOB]).await;
    assert_eq!(members.lines().map(|line| line.split('\t').nth(1).unwrap()).collect::<Vec<_>>(), [JANE, BOB]);

    let jane = Person::log_in(&server, JANE).await;
    let session = async || jane.im_chat("api/get_or_create_session_group", json!({"group": id})).await;
    let uids = |session: &serde_json::Value| {
        session["users"].as_array().unwrap().iter().map(|user| user["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let begun = session().await;
    assert_eq!(uids(&begun), [6, 8]);
    administer(&["group", "members", "Sales team", "--add", JOHN, "--remove", BOB]).await;
    let joined = session().await;
    assert_eq!(
        (uids(&joined), &joined["uuid"]),
        (vec![6, 8, 4], &begun["uuid"]),
        "who is a member now is in; nobody is thrown out"
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_changes_nothing() {
    let server = server().await;
    let before = server.backend().administer(&["group", "members", "News"], "").await;
    for arguments in [
        &["group", "add", "News"][..],
        &["group", "add", " "],
        &["group", "members", "Nobody's"],
        &["group", "members", "News", "--remove", JANE, "--add", "nobody@example.com"],
        &["user", "picture", ADMIN, "/nowhere.png"],
    ] {
        let output = server.backend().run(arguments, "").await;
        assert!(!output.status.success(), "{arguments:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1, "{arguments:?}");
    }
    assert_eq!(server.backend().administer(&["group", "members", "News"], "").await, before);
}

#[tokio::test]
async fn a_picture_is_shown_to_those_in_a_session() {
    let mut server = server().await;
    let directory = tempfile::tempdir().unwrap();
    let picture = [b"\x89PNG\r\n\x1a\n".as_slice(), b"a picture of Jane"].concat();
    for (name, bytes) in
        [("jane.png", picture.clone()), ("no.png", b"GIF89a".to_vec()), ("huge.png", [&picture[..], &vec![0; 300_000]].concat())]
    {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    server.backend().administer(&["user", "picture", JANE, &path("jane.png")], "").await;
    for name in ["no.png", "huge.png"] {
        assert!(!server.backend().run(&["user", "picture", JANE, &path(name)], "").await.status.success(), "{name}");
    }
    let (admin, jane) = (Person::log_in(&server, ADMIN).await, Person::log_in(&server, JANE).await);
    let uuid = admin.session_with(&jane).await;
    let show = async |client: &crate::support::Client| {
        let response = client.request(Method::GET, &format!("/im_chat/image/{uuid}/6")).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "image/png");
        let since = response.headers()["last-modified"].to_str().unwrap().to_owned();
        (since, response.bytes().await.unwrap())
    };
    let (since, shown) = show(&admin.client).await;
    assert_eq!(shown, picture);
    for stranger in [server.log_in(BOB).await, server.client()] {
        let (older, other) = show(&stranger).await;
        assert_ne!(other, picture);
        assert_ne!(older, since, "it is not known as the pixel of before");
    }
    // Picture by the uuid of another session, without the pictured user: not served.
    let other = admin.session_with(&Person::log_in(&server, BOB).await).await;
    let elsewhere = admin.client.request(Method::GET, &format!("/im_chat/image/{other}/6")).send().await.unwrap();
    assert_ne!(elsewhere.bytes().await.unwrap(), picture);
    server.stop().await;
}

/// Revocation during a poll: the poll of a deactivated user ends.
#[tokio::test]
async fn a_deactivated_users_poll_ends_at_once() {
    let mut server = server().await;
    let jane = server.log_in(JANE).await;
    let (answer, ()) = tokio::join!(jane.call("/longpolling/poll", json!({"channels": [], "last": i64::MAX})), async {
        server.polls_waiting(1).await;
        server.backend().administer(&["user", "deactivate", JANE], "").await;
    });
    assert_eq!(answer["error"]["code"], 100, "{answer}");
    assert_eq!(answer["error"]["data"]["name"], "odoo.http.SessionExpiredException", "{answer}");
    server.stop().await;
}

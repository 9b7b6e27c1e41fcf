//! Tests of uploads: expiry, and mentions in messages, which keep them.

use std::sync::Arc;

use storage::{
    MessageId, NamedObject, NewAttachment, NewUpload, PartnerId, Storage, Upload, UploadReference, UploadedFile, User,
};

use crate::people::{at, conversation, new_attachment, new_partner, say, users, write};

on_every_backend!(
    an_upload_comes_back_as_it_was_stored,
    one_file_is_put_and_no_second,
    of_two_who_put_at_once_one_is_told_no,
    uploads_expire_in_small_steps_unless_they_are_kept,
    an_upload_is_kept_as_long_as_a_message_names_it,
    of_two_who_name_and_let_go_at_once_neither_is_passed_over,
    an_upload_that_was_not_committed_is_none,
    only_its_owners_messages_keep_an_upload,
    an_owner_has_an_account,
    an_object_is_in_use_while_anything_names_it,
    objects_are_listed_page_by_page,
    the_newest_objects_are_found,
);

fn new_upload(owner: PartnerId, name: &str, expires_at: i64) -> NewUpload {
    NewUpload {
        name: format!("chat-images/{name}"),
        owner,
        mimetype: "image/png".to_owned(),
        limit_bytes: 5_000_000_000,
        expires_at: at(expires_at),
    }
}

fn mention(message: MessageId, author: &User, name: &str) -> UploadReference {
    UploadReference { message, author: author.partner.id, name: format!("chat-images/{name}") }
}

fn file(object: &str) -> UploadedFile {
    UploadedFile {
        object: object.to_owned(),
        mimetype: "image/gif".to_owned(),
        size_bytes: 4_000_000_000,
        width: Some(640),
        height: Some(480),
        put_at: at(1),
    }
}

async fn an_upload_comes_back_as_it_was_stored(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let new = new_upload(ann.partner.id, "a", 10);
    let NewUpload { name, owner, mimetype, limit_bytes, expires_at } = new.clone();
    write(&store, async |tx| tx.insert_upload(new).await.unwrap()).await;
    let expected = Upload { name: name.clone(), owner, mimetype, limit_bytes, expires_at, file: None };
    assert_eq!(store.upload(&name).await.unwrap(), Some(expected));
    assert_eq!(store.upload("chat-images/b").await.unwrap(), None);
    for (owner, name, why) in [(ann.partner.id, "a", "a name is given once"), (PartnerId(1_000_000), "c", "an owner is somebody")]
    {
        let mut tx = store.begin().await.unwrap();
        assert!(tx.insert_upload(new_upload(owner, name, 20)).await.is_err(), "{why}");
    }
}

async fn one_file_is_put_and_no_second(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    write(&store, async |tx| {
        tx.insert_upload(new_upload(ann.partner.id, "a", 10)).await.unwrap();
        assert!(tx.put_upload("chat-images/a", file("one")).await.unwrap());
        assert!(!tx.put_upload("chat-images/a", file("two")).await.unwrap());
        assert!(!tx.put_upload("chat-images/unknown", file("three")).await.unwrap());
    })
    .await;
    write(&store, async |tx| assert!(!tx.put_upload("chat-images/a", file("four")).await.unwrap())).await;
    assert_eq!(store.upload("chat-images/a").await.unwrap().unwrap().file, Some(file("one")));
}

async fn of_two_who_put_at_once_one_is_told_no(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    write(&store, async |tx| tx.insert_upload(new_upload(ann.partner.id, "a", 10)).await.unwrap()).await;
    let put = |object: &'static str| {
        let store = &store;
        async move { write(store, async |tx| tx.put_upload("chat-images/a", file(object)).await.unwrap()).await }
    };
    let (one, two) = tokio::join!(put("one"), put("two"));
    assert_ne!(one, two);
    let won = if one { "one" } else { "two" };
    assert_eq!(store.upload("chat-images/a").await.unwrap().unwrap().file, Some(file(won)));
}

async fn uploads_expire_in_small_steps_unless_they_are_kept(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    write(&store, async |tx| {
        for (name, expires_at) in [("d", 4), ("b", 2), ("a", 1), ("kept", 1), ("c", 3)] {
            tx.insert_upload(new_upload(ann.partner.id, name, expires_at)).await.unwrap();
        }
        assert!(tx.put_upload("chat-images/b", file("b")).await.unwrap());
    })
    .await;
    let message = say(&store, conversation(&store, &[&ann]).await, &ann, "look").await.id;
    let keep = ["kept", "unknown", "kept"].map(|name| mention(message, &ann, name));
    write(&store, async |tx| tx.reference_uploads(&keep).await.unwrap()).await;
    write(&store, async |tx| tx.reference_uploads(&keep[..1]).await.unwrap()).await;
    write(&store, async |tx| tx.reference_uploads(&[]).await.unwrap()).await;
    let expire = async |limit| {
        let mut expired = store.expire_uploads(at(4), limit).await.unwrap();
        expired.sort_by(|a, b| a.name.cmp(&b.name));
        expired.into_iter().map(|upload| (upload.name, upload.file.map(|file| file.object))).collect::<Vec<_>>()
    };
    let named = |name: &str, object: Option<&str>| (format!("chat-images/{name}"), object.map(str::to_owned));
    assert_eq!(expire(2).await, [named("a", None), named("b", Some("b"))], "the oldest first, with what was put");
    assert_eq!(expire(2).await, [named("c", None)], "what expires at that very time has not expired before it");
    assert_eq!(expire(2).await, []);
    assert_eq!(store.upload("chat-images/a").await.unwrap(), None);
    assert!(store.upload("chat-images/kept").await.unwrap().is_some());
    assert!(store.upload("chat-images/d").await.unwrap().is_some());
}

/// Sets the uploads that a message mentions, and returns the names of those that it releases.
async fn change(store: &Arc<dyn Storage>, of: MessageId, by: &User, names: &[&str]) -> Vec<String> {
    let names: Vec<_> = names.iter().map(|name| format!("chat-images/{name}")).collect();
    let mut gone = write(store, async |tx| tx.replace_upload_references(of, by.partner.id, &names).await.unwrap()).await;
    gone.sort_by(|a, b| a.name.cmp(&b.name));
    gone.into_iter().map(|upload| upload.name.replace("chat-images/", "")).collect()
}

async fn an_upload_is_kept_as_long_as_a_message_names_it(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let (one, two) = (say(&store, room, &ann, "one").await.id, say(&store, room, &ann, "two").await.id);
    write(&store, async |tx| {
        for name in ["a", "b", "c", "empty"] {
            tx.insert_upload(new_upload(ann.partner.id, name, 1)).await.unwrap();
            assert!(name == "empty" || tx.put_upload(&format!("chat-images/{name}"), file(name)).await.unwrap());
        }
        let named = [(one, "a"), (one, "b"), (two, "b"), (one, "empty")];
        tx.reference_uploads(&named.map(|(by, name)| mention(by, &ann, name))).await.unwrap();
    })
    .await;
    assert_eq!(change(&store, one, &ann, &["a", "c", "unknown"]).await, ["empty"], "the other message still names b");
    assert_eq!(change(&store, one, &ann, &["a", "c", "unknown"]).await, [""; 0]);
    let expired = store.expire_uploads(at(2), 10).await.unwrap();
    assert_eq!(expired.into_iter().map(|upload| upload.name).collect::<Vec<_>>(), ["chat-images/empty"]);
    assert_eq!(change(&store, two, &ann, &[]).await, ["b"]);
    assert_eq!(change(&store, two, &ann, &["a"]).await, [""; 0]);
    assert_eq!(change(&store, one, &ann, &[]).await, ["c"], "a has found another message");
    for (name, there) in [("a", true), ("b", false), ("c", false)] {
        assert_eq!(store.upload(&format!("chat-images/{name}")).await.unwrap().is_some(), there, "{name}");
    }
    assert_eq!(change(&store, two, &ann, &[]).await, ["a"]);
    assert_eq!(change(&store, two, &ann, &[]).await, [""; 0]);
}

async fn of_two_who_name_and_let_go_at_once_neither_is_passed_over(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    for number in 0..20 {
        let name = number.to_string();
        let (one, two) = (say(&store, room, &ann, "one").await.id, say(&store, room, &ann, "two").await.id);
        let full = format!("chat-images/{name}");
        write(&store, async |tx| {
            tx.insert_upload(new_upload(ann.partner.id, &name, 1)).await.unwrap();
            assert!(tx.put_upload(&full, file(&name)).await.unwrap());
            tx.reference_uploads(&[mention(one, &ann, &name)]).await.unwrap();
        })
        .await;
        let naming = write(&store, async |tx| tx.reference_uploads(&[mention(two, &ann, &name)]).await.unwrap());
        let (gone, ()) = tokio::join!(change(&store, one, &ann, &[]), naming);
        assert_eq!(gone.is_empty(), store.upload(&full).await.unwrap().is_some(), "{number}");
        assert_eq!(store.expire_uploads(at(2), 10).await.unwrap(), [], "it is named, or gone");
    }
}

async fn an_upload_that_was_not_committed_is_none(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_upload(new_upload(ann.partner.id, "a", 10)).await.unwrap();
    drop(tx);
    assert_eq!(store.upload("chat-images/a").await.unwrap(), None);
    assert_eq!(store.expire_uploads(at(100), 10).await.unwrap(), []);
}

async fn only_its_owners_messages_keep_an_upload(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let (hers, his) = (say(&store, room, &ann, "hers").await.id, say(&store, room, &ben, "his").await.id);
    write(&store, async |tx| {
        for name in ["a", "b", "c"] {
            tx.insert_upload(new_upload(ann.partner.id, name, 1)).await.unwrap();
            assert!(tx.put_upload(&format!("chat-images/{name}"), file(name)).await.unwrap());
        }
        tx.insert_upload(new_upload(ben.partner.id, "d", 1)).await.unwrap();
        let named = [mention(his, &ben, "a"), mention(his, &ben, "b"), mention(his, &ben, "d"), mention(hers, &ann, "b")];
        tx.reference_uploads(&named).await.unwrap();
    })
    .await;
    assert_eq!(change(&store, his, &ben, &["b", "c", "d"]).await, [""; 0], "nothing of his is let go");
    let expired = store.expire_uploads(at(2), 10).await.unwrap();
    let mut expired: Vec<_> = expired.into_iter().map(|upload| upload.name).collect();
    expired.sort_unstable();
    assert_eq!(expired, ["chat-images/a", "chat-images/c"], "somebody else has named them");
    assert_eq!(change(&store, hers, &ann, &[]).await, ["b"], "his message does not keep it");
    assert_eq!(store.upload("chat-images/b").await.unwrap(), None);
    assert_eq!(change(&store, his, &ben, &[]).await, ["d"]);
}

async fn an_owner_has_an_account(store: Arc<dyn Storage>) {
    let company = write(&store, async |tx| tx.insert_partner(new_partner("Company")).await.unwrap()).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_upload(new_upload(company.id, "a", 1)).await.is_err());
}

/// Tests the objects in use. An attachment uses one object. An upload uses two: that of its file, and one of its own
/// name, for files that clients put directly into the object store.
async fn an_object_is_in_use_while_anything_names_it(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let attachment = write(&store, async |tx| {
        tx.insert_upload(new_upload(ann.partner.id, "put", 1)).await.unwrap();
        tx.insert_upload(new_upload(ann.partner.id, "put-elsewhere", 1)).await.unwrap();
        assert!(tx.put_upload("chat-images/put", file("of an upload")).await.unwrap());
        tx.insert_attachment(new_attachment(&ann, "file")).await.unwrap()
    })
    .await;
    let all = ["chat-images/put", "chat-images/put-elsewhere", "of an upload", &attachment.object, "orphan", "chat-images/gone"];
    let in_use = async || {
        let used = store.objects_in_use(&all.map(str::to_owned)).await.unwrap();
        all.into_iter().filter(|object| used.iter().any(|used| used == object)).collect::<Vec<_>>()
    };
    assert_eq!(in_use().await, all[..4]);
    assert_eq!(store.objects_in_use(&[]).await.unwrap(), [""; 0]);
    write(&store, async |tx| tx.delete_attachment(attachment.id).await.unwrap()).await;
    assert_eq!(in_use().await, all[..3]);
    store.expire_uploads(at(2), 10).await.unwrap();
    assert_eq!(in_use().await, [""; 0]);
}

fn object(name: &str, size_bytes: Option<i64>) -> NamedObject {
    NamedObject { object: name.to_owned(), size_bytes }
}

/// Four attachments, an upload with a file, and one without.
async fn name_objects(store: &Arc<dyn Storage>) {
    let [ann] = users(store, ["ann"]).await;
    write(store, async |tx| {
        for name in ["d", "a", "c", "b"] {
            let new = NewAttachment { size_bytes: 7, ..new_attachment(&ann, name) };
            tx.insert_attachment(NewAttachment { object: name.to_owned(), ..new }).await.unwrap();
        }
        for name in ["put", "waiting"] {
            tx.insert_upload(new_upload(ann.partner.id, name, 10)).await.unwrap();
        }
        assert!(tx.put_upload("chat-images/put", file("e")).await.unwrap());
    })
    .await;
}

async fn objects_are_listed_page_by_page(store: Arc<dyn Storage>) {
    assert_eq!(store.objects("", 10).await.unwrap(), []);
    name_objects(&store).await;
    let mut expected = ["a", "b", "c", "d"].map(|name| object(name, Some(7))).to_vec();
    expected.extend([object("chat-images/waiting", None), object("e", Some(4_000_000_000))]);
    let by_name = |one: &NamedObject, other: &NamedObject| one.object.cmp(&other.object);
    expected.sort_by(by_name);
    for limit in [1, 2, 3, 4, 10] {
        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let page = store.objects(&after, limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after.clone_from(&last.object);
            listed.extend(page);
        }
        // A store has its own order of texts.
        listed.sort_by(by_name);
        assert_eq!(listed, expected, "{limit} at a time");
    }
}

async fn the_newest_objects_are_found(store: Arc<dyn Storage>) {
    assert_eq!(store.newest_objects(2).await.unwrap(), []);
    name_objects(&store).await;
    let mut newest = store.newest_objects(2).await.unwrap();
    newest.sort_by(|one, other| one.object.cmp(&other.object));
    assert_eq!(newest, [object("b", Some(7)), object("c", Some(7)), object("e", Some(4_000_000_000))]);
}

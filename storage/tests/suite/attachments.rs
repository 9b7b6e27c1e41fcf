//! Tests of attachments: access, deletion, retention, and files shared by several messages.

use std::sync::Arc;

use storage::{
    Attachment, AttachmentAccess, AttachmentId, DeletedAttachment, Media, NewAttachment, NewMessage, Page, PartnerId, Storage,
};

use crate::people::{at, conversation, delete, file, hesitate, lock, new_attachment, new_message, post, send, users, write};

on_every_backend!(
    an_attachment_comes_back_as_it_was_stored,
    an_attachment_reaches_whoever_is_where_it_was_sent,
    an_attachment_in_a_support_session_is_told_from_others,
    a_deleted_attachment_is_taken_out_of_messages,
    what_was_never_sent_is_forgotten,
    what_is_being_sent_is_not_forgotten,
    a_deleted_message_takes_its_files_along,
    a_file_stays_that_another_message_holds,
    a_file_sent_beside_a_deletion_is_not_lost,
    a_file_goes_with_the_last_of_two_that_are_deleted_at_once,
);

async fn an_attachment_comes_back_as_it_was_stored(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let sha256 = Some("0f".repeat(32));
    let media = Media { sha256, width: Some(1_920), height: Some(1), duration_milliseconds: Some(5_000_000_000) };
    let new = NewAttachment { name: "Ünï \"안\" 🦀.png".to_owned(), media, ..new_attachment(&ann, "") };
    let NewAttachment { object, name, mimetype, size_bytes, access_token, owner, created_at, media } = new.clone();
    let (stored, other) = write(&store, async |tx| {
        let stored = tx.insert_attachment(new).await.unwrap();
        let other = tx.insert_attachment(new_attachment(&ann, "other")).await.unwrap();
        let unknown = AttachmentId(1_000_000);
        let mut to_send = tx.attachments_to_send(&[other.id, unknown, stored.id]).await.unwrap();
        to_send.sort_by_key(|attachment| attachment.id);
        assert_eq!(to_send, [stored.clone(), other.clone()]);
        assert_eq!(tx.attachments_to_send(&[]).await.unwrap(), []);
        (stored, other)
    })
    .await;
    let expected = Attachment { id: stored.id, object, name, mimetype, size_bytes, access_token, owner, created_at, media };
    assert_eq!(stored, expected);
    assert_ne!(stored.id, other.id);
    assert_eq!(store.attachment(stored.id).await.unwrap(), Some(expected.clone()));
    let message = send(&store, conversation(&store, &[&ann]).await, &ann, &[&stored, &other]).await;
    assert_eq!(message.attachments, [expected, other]);
    assert_eq!(store.messages_by_id(&[message.id]).await.unwrap(), [message]);
    assert_eq!(store.attachment(AttachmentId(1_000_000)).await.unwrap(), None);
}

async fn an_attachment_reaches_whoever_is_where_it_was_sent(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let [hers, theirs] = [conversation(&store, &[&ann, &cat]).await, conversation(&store, &[&ann, &ben]).await];
    let file = write(&store, async |tx| tx.insert_attachment(new_attachment(&ann, "file")).await.unwrap()).await;
    let reached = async || {
        let mut reached = Vec::new();
        for partner in [&ann, &ben, &cat].map(|user| user.partner.id) {
            reached.push(store.attachment_access(file.id, partner).await.unwrap());
        }
        reached
    };
    assert_eq!(reached().await, [Some(AttachmentAccess::Unsent); 3], "it was sent nowhere yet, and owning it is another matter");
    let with_file = |room| NewMessage { attachments: vec![file.clone()], ..new_message(room, &ann, "look") };
    post(&store, with_file(theirs)).await;
    post(&store, with_file(theirs)).await;
    assert_eq!(
        reached().await,
        [Some(AttachmentAccess::Reader), Some(AttachmentAccess::Reader), Some(AttachmentAccess::NoAccess)]
    );
    post(&store, with_file(hers)).await;
    assert_eq!(reached().await, [Some(AttachmentAccess::Reader); 3]);
    assert_eq!(store.attachment_access(file.id, PartnerId(1_000_000)).await.unwrap(), Some(AttachmentAccess::NoAccess));
    assert_eq!(store.attachment_access(AttachmentId(1_000_000), ann.partner.id).await.unwrap(), None);
    write(&store, async |tx| tx.delete_attachment(file.id).await.unwrap()).await;
    assert_eq!(reached().await, [None; 3]);
}

async fn an_attachment_in_a_support_session_is_told_from_others(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann]).await;
    let file = file(&store, &ann, "file").await;
    let message = send(&store, room, &ann, &[&file]).await;
    let reach = async |partner| store.attachment_access(file.id, partner).await.unwrap();
    assert_eq!(reach(ben.partner.id).await, Some(AttachmentAccess::NoAccess));
    write(&store, async |tx| tx.insert_support_session(room, ann.partner.id, at(1)).await.unwrap()).await;
    assert_eq!(
        (reach(ann.partner.id).await, reach(ben.partner.id).await),
        (Some(AttachmentAccess::Reader), Some(AttachmentAccess::Support))
    );
    delete(&store, &message).await;
    assert_eq!(reach(ben.partner.id).await, None);
}

async fn a_deleted_attachment_is_taken_out_of_messages(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [one, two] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    let [kept, gone] = write(&store, async |tx| {
        [
            tx.insert_attachment(new_attachment(&ann, "kept")).await.unwrap(),
            tx.insert_attachment(new_attachment(&ann, "gone")).await.unwrap(),
        ]
    })
    .await;
    for (room, attachments) in [(one, vec![gone.clone(), kept.clone()]), (one, vec![kept.clone()]), (two, vec![gone.clone()])] {
        post(&store, NewMessage { attachments, ..new_message(room, &ann, "look") }).await;
    }
    write(&store, async |tx| {
        let deleted = DeletedAttachment { attachment: gone.clone(), conversations: vec![one, two] };
        assert_eq!(tx.delete_attachment(gone.id).await.unwrap(), Some(deleted));
        assert_eq!(tx.delete_attachment(gone.id).await.unwrap(), None);
        assert_eq!(tx.attachments_to_send(&[gone.id]).await.unwrap(), []);
    })
    .await;
    assert_eq!(store.attachment(gone.id).await.unwrap(), None);
    let held = async |room| {
        let page = store.messages(room, ann.partner.id, Page::Newest { offset: 0, limit: 9 }).await.unwrap();
        page.into_iter().map(|seen| seen.message.attachments).collect::<Vec<_>>()
    };
    assert_eq!(held(one).await, [[kept.clone()], [kept]]);
    assert_eq!(held(two).await, [[]]);
}

async fn what_was_never_sent_is_forgotten(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let [sent, old, older, young] = write(&store, async |tx| {
        let mut files = Vec::new();
        for (name, age) in [("sent", 0), ("old", 1), ("older", 0), ("young", 2)] {
            let new = NewAttachment { created_at: at(age), ..new_attachment(&ann, name) };
            files.push(tx.insert_attachment(new).await.unwrap());
        }
        files.try_into().expect("four")
    })
    .await;
    post(&store, NewMessage { attachments: vec![sent.clone()], ..new_message(room, &ann, "look") }).await;
    assert_eq!(store.forget_unsent(at(0), 10).await.unwrap(), [""; 0]);
    assert_eq!(store.forget_unsent(at(2), 0).await.unwrap(), [""; 0]);
    let mut gone = store.forget_unsent(at(2), 10).await.unwrap();
    gone.sort_unstable();
    let mut expected = [old.object, older.object];
    expected.sort_unstable();
    assert_eq!(gone, expected);
    for (file, is_there) in [(sent.id, true), (old.id, false), (older.id, false), (young.id, true)] {
        assert_eq!(store.attachment(file).await.unwrap().is_some(), is_there);
    }
    assert_eq!(store.forget_unsent(at(2), 10).await.unwrap(), [""; 0]);
}

/// Tests `forget_unsent` beside a send, in varying interleavings.
async fn what_is_being_sent_is_not_forgotten(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    for round in 0..30 {
        let file = write(&store, async |tx| tx.insert_attachment(new_attachment(&ann, "file")).await.unwrap()).await;
        let mut tx = store.begin().await.unwrap();
        let to = lock(&mut *tx, room).await;
        let attachments = tx.attachments_to_send(&[file.id]).await.unwrap();
        let (forgotten, ()) = tokio::join!(store.forget_unsent(at(1), 10), async {
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            let message = NewMessage { attachments, ..new_message(room, &ann, "look") };
            tx.insert_messages(to, vec![message]).await.unwrap();
            tx.commit().await.unwrap();
        });
        assert_eq!(forgotten.unwrap(), [""; 0]);
        assert_eq!(
            store.attachment_access(file.id, ann.partner.id).await.unwrap(),
            Some(AttachmentAccess::Reader),
            "round {round}"
        );
    }
}

async fn a_deleted_message_takes_its_files_along(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let [one, two, other] = [file(&store, &ann, "1").await, file(&store, &ann, "2").await, file(&store, &ann, "3").await];
    let message = send(&store, room, &ann, &[&two, &one, &two]).await;
    send(&store, room, &ann, &[&other]).await;
    let mut gone = delete(&store, &message).await.files;
    gone.sort_by_key(|file| file.id);
    assert_eq!(gone, [one.clone(), two.clone()]);
    for (file, is_there) in [(one, false), (two, false), (other, true)] {
        assert_eq!(store.attachment(file.id).await.unwrap().is_some(), is_there, "{}", file.name);
    }
    assert_eq!(delete(&store, &message).await.files, [], "they are given once");
}

async fn a_file_stays_that_another_message_holds(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let [room, other] = [conversation(&store, &[&ann, &ben]).await, conversation(&store, &[&ann]).await];
    let file = file(&store, &ann, "file").await;
    let mut messages = Vec::new();
    for of in [room, room, other] {
        messages.push(send(&store, of, &ann, &[&file]).await);
    }
    let reach = async || store.attachment_access(file.id, ben.partner.id).await.unwrap();
    for (message, reached) in messages.iter().zip([Some(AttachmentAccess::Reader), Some(AttachmentAccess::NoAccess), None]) {
        let gone = delete(&store, message).await.files;
        assert_eq!(gone.is_empty(), reached.is_some());
        assert_eq!(reach().await, reached);
    }
    assert_eq!(store.attachment(file.id).await.unwrap(), None);
}

/// Tests a send beside a deletion, in varying interleavings.
async fn a_file_sent_beside_a_deletion_is_not_lost(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    for round in 0..30 {
        let file = file(&store, &ann, "file").await;
        let message = send(&store, room, &ann, &[&file]).await;
        let sending = async {
            hesitate(&store, round % 5).await;
            let mut tx = store.begin().await.unwrap();
            let to = lock(&mut *tx, other).await;
            let attachments = tx.attachments_to_send(&[file.id]).await.unwrap();
            hesitate(&store, round % 3).await;
            let has_file = !attachments.is_empty();
            let new = NewMessage { attachments, ..new_message(other, &ann, "look") };
            let sent = tx.insert_messages(to, vec![new]).await.unwrap().remove(0);
            tx.commit().await.unwrap();
            has_file.then_some(sent)
        };
        let (deleted, sent) = tokio::join!(delete(&store, &message), sending);
        let expected = if sent.is_some() { vec![] } else { vec![file.clone()] };
        assert_eq!(deleted.files, expected, "round {round}");
        assert_eq!(store.attachment(file.id).await.unwrap().is_some(), sent.is_some(), "round {round}");
        if let Some(sent) = sent {
            assert_eq!(store.messages_by_id(&[sent.id]).await.unwrap(), [sent], "round {round}");
        }
    }
}

async fn a_file_goes_with_the_last_of_two_that_are_deleted_at_once(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    for round in 0..10 {
        let file = file(&store, &ann, "file").await;
        let (one, two) = (send(&store, room, &ann, &[&file]).await, send(&store, other, &ann, &[&file]).await);
        let (one, two) = tokio::join!(delete(&store, &one), delete(&store, &two));
        assert_eq!([one.files, two.files].concat(), [file], "round {round}");
    }
}

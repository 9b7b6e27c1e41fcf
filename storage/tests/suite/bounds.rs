//! Tests of limits in bytes on pages and lists.

use std::sync::Arc;

use storage::{
    Attachment, FILE_BYTES, InboxFilter, Message, MessageId, NewMessage, PAGE_BYTES, Page, PartnerId, Position, Scope,
    SearchScan, Storage, User,
};

use crate::people::{conversation, file, lock, new_message, say, send, users, write};

on_every_backend!(
    a_page_that_goes_on_by_id_ends_at_its_size,
    files_count_in_the_size_of_a_page,
    a_page_by_offset_ends_at_its_size_and_can_be_measured,
    a_page_holds_one_message_however_large,
    lists_read_the_beginning_of_a_last_message,
    lists_read_the_first_files_of_a_last_message,
    a_read_of_the_log_ends_at_its_size,
);

const KIB: usize = 1024;

/// Posts messages of this many bytes each.
async fn say_long(
    store: &Arc<dyn Storage>,
    room: storage::ConversationId,
    by: &User,
    count: usize,
    bytes: usize,
) -> Vec<Message> {
    let mut said = Vec::new();
    for _ in 0..count {
        said.push(say(store, room, by, &"x".repeat(bytes)).await);
    }
    said
}

async fn ids(store: &Arc<dyn Storage>, room: storage::ConversationId, reader: PartnerId, page: Page) -> Vec<MessageId> {
    store.messages(room, reader, page).await.unwrap().into_iter().map(|seen| seen.message.id).collect()
}

async fn a_page_that_goes_on_by_id_ends_at_its_size(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let said: Vec<_> = say_long(&store, room, &ann, 40, 60_000).await.into_iter().map(|message| message.id).collect();
    let reader = ann.partner.id;
    // The 18th message reaches the limit, and is the last of the page.
    assert_eq!(ids(&store, room, reader, Page::latest(200)).await, said.iter().rev().take(18).copied().collect::<Vec<_>>());
    let (mut backwards, mut before) = (Vec::new(), MessageId(i64::MAX));
    loop {
        let page = ids(&store, room, reader, Page::Before { id: before, limit: 200 }).await;
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 18);
        before = *last;
        backwards.extend(page);
    }
    assert!(backwards.iter().rev().eq(&said), "nothing is missing, nothing twice");
    let (mut onwards, mut after) = (Vec::new(), MessageId(0));
    loop {
        let page = ids(&store, room, reader, Page::After { id: after, limit: 200 }).await;
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 18);
        after = *last;
        onwards.extend(page);
    }
    assert_eq!(onwards, said);
    assert_eq!(ids(&store, room, reader, Page::latest(3)).await.len(), 3);
}

async fn files_count_in_the_size_of_a_page(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let files = files(&store, &ann, 50).await;
    let mut said = Vec::new();
    for _ in 0..30 {
        said.push(send(&store, room, &ann, &files.iter().collect::<Vec<_>>()).await);
    }
    let size = said[0].bytes();
    assert_eq!(size, "look".len() + 50 * FILE_BYTES);
    let (fitting, reader) = (PAGE_BYTES.div_ceil(size), ann.partner.id);
    let newest: Vec<_> = said.iter().rev().map(|message| message.id).collect();
    assert_eq!(ids(&store, room, reader, Page::latest(200)).await, newest[..fitting]);
    assert_eq!(ids(&store, room, reader, Page::Newest { offset: 0, limit: 200 }).await, newest[..fitting]);
    assert_eq!(store.newest_bytes(room, reader, 1, 200).await.unwrap(), 29 * size);
    let oldest: Vec<_> = said.iter().take(fitting).map(|message| message.id).collect();
    assert_eq!(ids(&store, room, reader, Page::After { id: MessageId(0), limit: 200 }).await, oldest);
    let with_files = store.messages_with_files(room, reader, None, 200).await.unwrap();
    assert!(with_files.iter().map(|message| message.id).eq(newest[..fitting].iter().copied()));
    let from = store.newest_messages(reader, Some(room), None).await.unwrap()[0];
    let walk = SearchScan { messages: 100, query: "look", limit: 100, bytes: PAGE_BYTES };
    let walked = store.search_messages(from, reader, walk).await.unwrap();
    assert!(walked.matches.iter().map(|seen| seen.message.id).eq(newest[..fitting].iter().copied()));
    let edited = said[0].id;
    write(&store, async |tx| {
        let locked = lock(tx, room).await;
        tx.edit_message(&locked[0], edited, "looked", reader, crate::people::at(1)).await.unwrap();
    })
    .await;
    let changes = store.changes(room, storage::ChangeKey::since(edited), 10).await.unwrap();
    assert_eq!(changes.iter().map(|change| change.bytes).collect::<Vec<_>>(), [size + 2]);
}

async fn files(store: &Arc<dyn Storage>, owner: &User, count: usize) -> Vec<Attachment> {
    let mut files = Vec::new();
    for number in 0..count {
        files.push(file(store, owner, &format!("file {number}")).await);
    }
    files
}

async fn a_page_by_offset_ends_at_its_size_and_can_be_measured(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let (room, reader) = (conversation(&store, &[&ann]).await, ann.partner.id);
    let said: Vec<_> = say_long(&store, room, &ann, 30, 60_000).await.into_iter().map(|message| message.id).collect();
    let newest: Vec<_> = said.into_iter().rev().collect();
    // The 18th message reaches the limit.
    for (offset, limit, expected, bytes) in [
        (0, 200, &newest[..18], 30 * 60_000),
        (1, 200, &newest[1..19], 29 * 60_000),
        (1, 18, &newest[1..19], 18 * 60_000),
        (1, 3, &newest[1..4], 3 * 60_000),
        (20, 200, &newest[20..], 10 * 60_000),
        (30, 200, &[], 0),
        (u64::MAX, 200, &[], 0),
    ] {
        assert_eq!(ids(&store, room, reader, Page::Newest { offset, limit }).await, expected, "{offset}, {limit}");
        assert_eq!(store.newest_bytes(room, reader, offset, limit).await.unwrap(), bytes, "{offset}, {limit}");
    }
    assert_eq!(store.newest_bytes(storage::ConversationId(1_000), reader, 0, 200).await.unwrap(), 0);
}

async fn a_page_holds_one_message_however_large(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let said: Vec<_> = say_long(&store, room, &ann, 2, 2 * PAGE_BYTES).await.into_iter().map(|message| message.id).collect();
    assert_eq!(ids(&store, room, ann.partner.id, Page::latest(10)).await, said[1..]);
    assert_eq!(ids(&store, room, ann.partner.id, Page::Newest { offset: 0, limit: 10 }).await, said[1..]);
    assert_eq!(ids(&store, room, ann.partner.id, Page::After { id: MessageId(0), limit: 10 }).await, said[..1]);
}

async fn lists_read_the_beginning_of_a_last_message(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    // Texts are cut between characters, never within one.
    for (text, shown) in [
        ("x".repeat(KIB), "x".repeat(KIB)),
        ("x".repeat(KIB + 1), "x".repeat(KIB)),
        ("…".repeat(20_000), "…".repeat(341)),
        (format!("x{}", "𝄞".repeat(300)), format!("x{}", "𝄞".repeat(255))),
    ] {
        let room = conversation(&store, &[&ann, &ben]).await;
        let said = say(&store, room, &ann, &text).await;
        let expected = Message { body: shown, ..said.clone() };
        let entries = store.inbox(ben.partner.id, InboxFilter { only: Some(&[room]), ..InboxFilter::default() }).await.unwrap();
        assert_eq!(entries[0].last_message.as_ref(), Some(&expected));
        assert_eq!(store.last_messages(&[(room, ann.partner.id)], ben.partner.id).await.unwrap(), [expected]);
        let page = store.messages(room, ben.partner.id, Page::latest(1)).await.unwrap();
        assert_eq!(page[0].message, said, "the message itself is whole");
    }
    let room = conversation(&store, &[&ann]).await;
    let metadata = Some(serde_json::json!({"filling": "x".repeat(KIB)}).into());
    let message = NewMessage { metadata, ..new_message(room, &ann, "x") };
    write(&store, async |tx| {
        let locked = lock(tx, room).await;
        tx.insert_messages(locked, vec![message]).await.unwrap();
    })
    .await;
    let entries = store.inbox(ann.partner.id, InboxFilter { only: Some(&[room]), ..InboxFilter::default() }).await.unwrap();
    assert_eq!(entries[0].last_message.as_ref().map(|last| (last.body.as_str(), &last.metadata)), Some(("x", &None)));
}

async fn lists_read_the_first_files_of_a_last_message(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let files = files(&store, &ann, 8).await;
    send(&store, room, &ann, &files.iter().collect::<Vec<_>>()).await;
    // Several files with short names fit in 1 KiB. After deletions the first ones of the rest are listed.
    for gone in 0..8 {
        let shown = files[gone..].iter().take(4).cloned().collect::<Vec<_>>();
        let entries = store.inbox(ann.partner.id, InboxFilter { only: Some(&[room]), ..InboxFilter::default() }).await.unwrap();
        assert_eq!(entries[0].last_message.as_ref().map(|last| &last.attachments), Some(&shown));
        let last = store.last_messages(&[(room, ann.partner.id)], ann.partner.id).await.unwrap();
        assert_eq!(last[0].attachments, shown);
        write(&store, async |tx| tx.delete_attachment(files[gone].id).await.unwrap()).await;
    }
}

async fn a_read_of_the_log_ends_at_its_size(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    say_long(&store, room, &ann, 10, 60_000).await;
    for scope in [Scope::Everything, Scope::Conversation(room)] {
        let (mut read, mut after) = (0, Position(0));
        loop {
            let page = store.log(after, scope, 100, 200_000).await.unwrap();
            let long = page.events.iter().filter(|event| event.fact.message().is_some()).count();
            assert!(long <= 4, "{scope:?}: {long}");
            read += long;
            after = page.events.last().expect("it holds one at least").position;
            if !page.more {
                break;
            }
        }
        assert_eq!(read, 10);
        assert_eq!(store.log(Position(0), scope, 100, 1).await.unwrap().events.len(), 1);
        let page = store.log(after, scope, 100, 200_000).await.unwrap();
        assert_eq!((page.events.len(), page.more), (0, false));
    }
}

//! Tests of messages: storing, pages, read marks, edits and deletions.

use std::{collections::HashMap, sync::Arc};

use storage::{
    AttachmentAccess, ConversationId, DeletedMessage, Message, MessageId, MessageSide, MessageType, Metadata, NewConversation,
    NewMessage, Page, PartnerId, Storage, UnreadByOthers,
};

use crate::people::{
    at, author, bodies, client_key, conflict, conversation, lock, new_attachment, new_conversation, new_message, post,
    read_up_to, say, users, write,
};

on_every_backend!(
    a_message_comes_back_as_it_was_stored,
    texts_come_back_exactly,
    several_messages_are_stored_in_the_order_given,
    pages_go_both_ways,
    messages_are_found_by_id_in_any_conversation,
    own_messages_are_read_once_anybody_else_has,
    others_messages_are_read_once_the_reader_has,
    what_nobody_else_has_read_is_found_in_all_conversations,
    news_is_what_others_said_since,
    an_edited_message_keeps_all_but_its_text,
    a_deleted_message_keeps_only_its_place,
    a_held_message_is_shown,
    a_conversations_files_come_newest_first,
    messages_change_only_in_their_own_conversation,
    an_external_id_is_taken_once,
    places_are_found_by_conversation_and_id,
);

async fn a_message_comes_back_as_it_was_stored(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let [first, second] = write(&store, async |tx| {
        [
            tx.insert_attachment(new_attachment(&ann, "first")).await.unwrap(),
            tx.insert_attachment(new_attachment(&ann, "second")).await.unwrap(),
        ]
    })
    .await;
    let answered = say(&store, room, &ben, "send me two pictures").await;
    let metadata = r#"{"z": 1.0, "a":[null, {"nested": "ä\u0000"}], "big": 1e400, "a": 12345678901234567890123}"#;
    let metadata: Metadata = serde_json::from_str(metadata).unwrap();
    let new = NewMessage {
        message_type: MessageType::Image,
        metadata: Some(metadata.clone()),
        attachments: vec![second.clone(), first.clone()],
        client_key: Some(client_key("key", 1)),
        external_id: Some("m-7".to_owned()),
        reply_to: Some(answered.id),
        support_side: Some(MessageSide::Agent),
        held: true,
        created_at: at(3),
        ..new_message(room, &ann, "two pictures")
    };
    let stored = post(&store, new).await;
    let expected = Message {
        id: stored.id,
        seq: 2,
        conversation: room,
        author: author(&ann),
        message_type: MessageType::Image,
        body: "two pictures".to_owned(),
        metadata: Some(metadata),
        attachments: vec![second, first],
        client_key: Some("key".to_owned()),
        held: true,
        created_at: at(3),
        edited_at: None,
        deleted_at: None,
        external_id: Some("m-7".to_owned()),
        reply_to: Some(answered.id),
        support_side: Some(MessageSide::Agent),
        edited_by: None,
        deleted_by: None,
    };
    assert_eq!(stored, expected);
    assert_eq!(store.messages_by_id(&[stored.id]).await.unwrap(), std::slice::from_ref(&expected));
    let page = store.messages(room, ben.partner.id, Page::Newest { offset: 0, limit: 10 }).await.unwrap();
    assert_eq!(page[0].message, expected);

    let conversation = store.conversation(room).await.unwrap().unwrap();
    assert_eq!(
        (conversation.last_seq, conversation.last_message, conversation.last_message_at),
        (2, Some(stored.id), Some(at(3)))
    );
}

async fn texts_come_back_exactly(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let texts = [
        String::new(),
        " \t leading and trailing \r\n ".to_owned(),
        "e\u{301} is not \u{e9}, \u{202e}backwards, \u{feff}, \u{1}, \u{10ffff}".to_owned(),
        "👩‍👩‍👧‍👦 안녕하세요 ก็ שלום".to_owned(),
        r#"'; DROP TABLE messages; -- \n \u0041 "quoted" %s {} $1"#.to_owned(),
        "🦀 long ".repeat(200_000),
    ];
    for text in &texts {
        assert_eq!(say(&store, room, &ann, text).await.body, *text);
    }
    let page = store.messages(room, ann.partner.id, Page::After { id: MessageId(0), limit: 10 }).await.unwrap();
    assert!(page.iter().map(|seen| &seen.message.body).eq(&texts));
}

async fn several_messages_are_stored_in_the_order_given(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let [one, two] = [conversation(&store, &[&ann, &ben]).await, conversation(&store, &[&ben]).await];
    say(&store, two, &ben, "there before").await;
    let given = [(two, "a"), (one, "b"), (two, "c"), (one, "d")];
    let stored = write(&store, async |tx| {
        let to = tx.lock_conversations(&[one, two]).await.unwrap();
        let new = given.map(|(room, body)| new_message(room, &ann, body));
        assert_eq!(tx.insert_messages(Vec::new(), Vec::new()).await.unwrap(), []);
        tx.insert_messages(to, new.into()).await.unwrap()
    })
    .await;
    assert!(stored.is_sorted_by_key(|message| message.id));
    let places: Vec<_> = stored.iter().map(|m| (m.conversation, m.body.as_str(), m.seq)).collect();
    assert_eq!(places, [(two, "a", 2), (one, "b", 1), (two, "c", 3), (one, "d", 2)]);
    for (room, last) in [(one, &stored[3]), (two, &stored[2])] {
        let conversation = store.conversation(room).await.unwrap().unwrap();
        assert_eq!((conversation.last_seq, conversation.last_message), (last.seq, Some(last.id)));
    }
}

async fn pages_go_both_ways(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    let mut ids = Vec::new();
    let mut between = Vec::new();
    for body in ["a", "b", "c", "d", "e"] {
        ids.push(say(&store, room, &ann, body).await.id);
        between.push(say(&store, other, &ann, "elsewhere").await.id);
    }
    let newest = async |offset, limit| bodies(&store, room, &ann, Page::Newest { offset, limit }).await;
    assert_eq!(newest(0, 10).await, "edcba");
    assert_eq!(newest(0, 2).await, "ed");
    assert_eq!(newest(1, 3).await, "dcb");
    assert_eq!(newest(4, 3).await, "a");
    assert_eq!(newest(5, 3).await, "");
    assert_eq!(newest(i64::MAX as u64, 3).await, "");
    assert_eq!(newest(0, 0).await, "");

    let before = async |id, limit| bodies(&store, room, &ann, Page::Before { id, limit }).await;
    assert_eq!(before(ids[3], 2).await, "cb");
    assert_eq!(before(ids[1], 5).await, "a");
    assert_eq!(before(ids[0], 5).await, "");
    assert_eq!(before(between[2], 2).await, "cb", "an id of another conversation is a place as well");
    assert_eq!(before(MessageId(i64::MAX), 1).await, "e");

    let after = async |id, limit| bodies(&store, room, &ann, Page::After { id, limit }).await;
    assert_eq!(after(MessageId(0), 2).await, "ab");
    assert_eq!(after(ids[1], 2).await, "cd");
    assert_eq!(after(ids[1], 10).await, "cde");
    assert_eq!(after(between[1], 1).await, "c");
    assert_eq!(after(ids[4], 10).await, "");

    assert_eq!(bodies(&store, ConversationId(1_000), &ann, Page::Newest { offset: 0, limit: 5 }).await, "");
}

async fn messages_are_found_by_id_in_any_conversation(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [one, two] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    let a = say(&store, one, &ann, "a").await;
    say(&store, one, &ann, "b").await;
    let c = say(&store, two, &ann, "c").await;
    let mut found = store.messages_by_id(&[c.id, MessageId(1_000_000), a.id]).await.unwrap();
    found.sort_by_key(|message| message.id);
    assert_eq!(found, [a, c]);
    assert_eq!(store.messages_by_id(&[]).await.unwrap(), []);
}

/// Read marks of a conversation's messages for a reader, oldest first.
async fn read_marks(store: &Arc<dyn Storage>, room: ConversationId, reader: PartnerId) -> Vec<bool> {
    let page = store.messages(room, reader, Page::After { id: MessageId(0), limit: 100 }).await.unwrap();
    page.into_iter().map(|seen| seen.is_read).collect()
}

async fn own_messages_are_read_once_anybody_else_has(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = conversation(&store, &[&ann, &ben, &cat]).await;
    for body in ["a", "b", "c"] {
        say(&store, room, &ann, body).await;
    }
    let marks = async || read_marks(&store, room, ann.partner.id).await;
    assert_eq!(marks().await, [false, false, false]);
    read_up_to(&store, room, ann.partner.id, 3).await;
    assert_eq!(marks().await, [false, false, false], "having read one's own makes nothing read");
    read_up_to(&store, room, ben.partner.id, 1).await;
    assert_eq!(marks().await, [true, false, false]);
    read_up_to(&store, room, cat.partner.id, 2).await;
    assert_eq!(marks().await, [true, true, false]);
    read_up_to(&store, room, ben.partner.id, 3).await;
    assert_eq!(marks().await, [true, true, true]);
}

async fn others_messages_are_read_once_the_reader_has(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    for by in [&ann, &ben, &ann] {
        say(&store, room, by, "hello").await;
    }
    assert_eq!(read_marks(&store, room, ben.partner.id).await, [false, false, false]);
    read_up_to(&store, room, ben.partner.id, 1).await;
    assert_eq!(read_marks(&store, room, ben.partner.id).await, [true, false, false]);
    read_up_to(&store, room, ann.partner.id, 3).await;
    assert_eq!(read_marks(&store, room, ben.partner.id).await, [true, true, false]);
    assert_eq!(read_marks(&store, room, cat.partner.id).await, [false, false, false], "who is not in it has read nothing");
}

async fn what_nobody_else_has_read_is_found_in_all_conversations(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let mut rooms = Vec::new();
    for participants in [vec![&ann, &ben, &cat], vec![&ann, &ben], vec![&ann], vec![&ann, &ben], vec![&ben, &cat]] {
        rooms.push(conversation(&store, &participants).await);
    }
    for (room, by) in [(0, &ann), (0, &ben), (0, &ann), (0, &cat), (1, &ann), (2, &ann), (3, &ben), (4, &ben)] {
        say(&store, rooms[room], by, "hello").await;
    }
    let unread = async |limit| {
        let unread = store.unread_by_others(ann.partner.id, limit).await.unwrap();
        let upto = |unread: &UnreadByOthers| unread.read.last().map_or(0, |range| range.upto);
        let mut unread: Vec<_> = unread.iter().map(|unread| (unread.conversation, upto(unread), unread.own_seq)).collect();
        unread.sort_unstable();
        unread
    };
    assert_eq!(unread(9).await, [(rooms[0], 0, 3), (rooms[1], 0, 1), (rooms[2], 0, 1)], "of others' messages nothing is said");
    assert_eq!(unread(2).await, [(rooms[1], 0, 1), (rooms[2], 0, 1)], "the newest");
    read_up_to(&store, rooms[0], ann.partner.id, 4).await;
    read_up_to(&store, rooms[0], cat.partner.id, 2).await;
    read_up_to(&store, rooms[1], ben.partner.id, 1).await;
    assert_eq!(unread(9).await, [(rooms[0], 2, 3), (rooms[2], 0, 1)]);
    read_up_to(&store, rooms[0], ben.partner.id, 3).await;
    write(&store, async |tx| {
        let locked = lock(tx, rooms[0]).await;
        assert!(tx.delete_participant(&locked[0], ben.partner.id).await.unwrap());
    })
    .await;
    assert_eq!(unread(9).await, [(rooms[2], 0, 1)], "what was read by somebody who has left stays read");
    say(&store, rooms[1], &ann, "again").await;
    assert_eq!(unread(1).await, [(rooms[1], 1, 2)]);
}

async fn news_is_what_others_said_since(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let mut rooms = Vec::new();
    for participants in [vec![&ann, &ben], vec![&ann, &ben], vec![&ann, &ben, &cat], vec![&ben]] {
        let new = NewConversation { created_at: at(0), ..new_conversation(&participants) };
        rooms.push(write(&store, async |tx| tx.insert_conversation(new).await.unwrap().id).await);
    }
    let message = |room: usize, by, seconds| NewMessage { created_at: at(seconds), ..new_message(rooms[room], by, "news") };
    for new in [
        message(2, &ben, 10),
        // Timestamps need not ascend.
        message(2, &cat, 5),
        message(2, &ann, 90),
        message(0, &ben, 10),
        message(0, &ben, 20),
        message(1, &ann, 90),
        message(3, &ben, 90),
    ] {
        post(&store, new).await;
    }
    let news = async |seconds| store.conversations_with_new_messages(ann.partner.id, at(seconds)).await.unwrap();
    assert_eq!(news(0).await, [rooms[0], rooms[2]]);
    assert_eq!(news(9).await, [rooms[0], rooms[2]]);
    assert_eq!(news(10).await, [rooms[0]]);
    assert_eq!(news(20).await, []);
}

async fn an_edited_message_keeps_all_but_its_text(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let metadata = Some(serde_json::json!({"kept": true}).into());
    let first =
        post(&store, NewMessage { metadata, client_key: Some(client_key("key", 1)), ..new_message(room, &ann, "frist") }).await;
    say(&store, room, &ben, "second").await;
    let edited = write(&store, async |tx| {
        let locked = lock(tx, room).await;
        tx.edit_message(&locked[0], first.id, "first", ben.partner.id, at(9)).await.unwrap().unwrap()
    })
    .await;
    let expected = Message { body: "first".to_owned(), edited_at: Some(at(9)), edited_by: Some(ben.partner.id), ..first };
    assert_eq!(edited, expected);
    assert_eq!(store.messages_by_id(&[expected.id]).await.unwrap(), [expected]);
}

async fn a_deleted_message_keeps_only_its_place(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let file = write(&store, async |tx| tx.insert_attachment(new_attachment(&ann, "file")).await.unwrap()).await;
    let metadata = Some(serde_json::json!({"gone": true}).into());
    let said = NewMessage { metadata, attachments: vec![file.clone()], ..new_message(room, &ann, "never said") };
    let first = post(&store, said).await;
    assert_eq!(store.attachment_access(file.id, ben.partner.id).await.unwrap(), Some(AttachmentAccess::Reader));
    let deleted = write(&store, async |tx| {
        let locked = lock(tx, room).await;
        tx.delete_message(&locked[0], first.id, ben.partner.id, at(9)).await.unwrap().unwrap()
    })
    .await;
    let expected = Message {
        body: String::new(),
        metadata: None,
        attachments: Vec::new(),
        deleted_at: Some(at(9)),
        deleted_by: Some(ben.partner.id),
        ..first
    };
    assert_eq!(deleted, DeletedMessage { message: expected.clone(), files: vec![file.clone()] });
    assert_eq!(store.messages_by_id(&[expected.id]).await.unwrap(), [expected]);
    assert_eq!(store.attachment(file.id).await.unwrap(), None);
}

async fn a_held_message_is_shown(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let held = post(&store, NewMessage { held: true, ..new_message(room, &ann, "a file") }).await;
    assert!(held.held);
    let shown = write(&store, async |tx| {
        let locked = lock(tx, room).await;
        tx.show_message(&locked[0], held.id).await.unwrap().unwrap()
    })
    .await;
    assert_eq!(shown, Message { held: false, ..held });
    assert_eq!(store.messages_by_id(&[shown.id]).await.unwrap(), [shown]);
}

async fn a_conversations_files_come_newest_first(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let (room, other) = (conversation(&store, &[&ann, &ben]).await, conversation(&store, &[&ann, &ben]).await);
    let mut files = Vec::new();
    for (room, name) in [(room, "a"), (room, "b"), (other, "elsewhere"), (room, "c"), (room, "gone"), (room, "taken back")] {
        say(&store, room, &ben, "no file").await;
        let file = write(&store, async |tx| tx.insert_attachment(new_attachment(&ann, name)).await.unwrap()).await;
        let message = post(&store, NewMessage { attachments: vec![file.clone()], ..new_message(room, &ann, name) }).await;
        files.push((message, file));
    }
    let [(a, _), (b, _), _, (c, _), (_, gone), (taken_back, _)] = files.as_slice() else { unreachable!("as many as said") };
    write(&store, async |tx| {
        tx.delete_attachment(gone.id).await.unwrap();
        let locked = lock(tx, room).await;
        tx.delete_message(&locked[0], taken_back.id, ann.partner.id, at(9)).await.unwrap();
    })
    .await;
    let find =
        async |before: Option<MessageId>, limit| store.messages_with_files(room, ben.partner.id, before, limit).await.unwrap();
    assert_eq!(find(None, 10).await, [c.clone(), b.clone(), a.clone()]);
    assert_eq!(find(None, 2).await, [c.clone(), b.clone()]);
    assert_eq!(find(Some(b.id), 10).await, std::slice::from_ref(a));
    assert_eq!(find(Some(MessageId(i64::MAX)), 1).await, std::slice::from_ref(c));
    assert_eq!(store.messages_with_files(ConversationId(1_000), ben.partner.id, None, 10).await.unwrap(), []);
}

async fn messages_change_only_in_their_own_conversation(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let (room, other) = (conversation(&store, &[&ann, &ben]).await, conversation(&store, &[&ann]).await);
    let message = post(&store, new_message(room, &ann, "here")).await;
    write(&store, async |tx| {
        let locked = lock(tx, other).await;
        assert_eq!(tx.message_of(&locked[0], message.id).await.unwrap(), None);
        assert_eq!(tx.edit_message(&locked[0], message.id, "there", ann.partner.id, at(9)).await.unwrap(), None);
        assert_eq!(tx.delete_message(&locked[0], message.id, ann.partner.id, at(9)).await.unwrap(), None);
        assert_eq!(tx.show_message(&locked[0], message.id).await.unwrap(), None);
        assert_eq!(tx.edit_message(&locked[0], MessageId(1_000_000), "nowhere", ann.partner.id, at(9)).await.unwrap(), None);
    })
    .await;
    assert_eq!(store.messages_by_id(&[message.id]).await.unwrap(), [message]);
}

async fn an_external_id_is_taken_once(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    let external = |room, id: &str| NewMessage { external_id: Some(id.to_owned()), ..new_message(room, &ann, "imported") };
    for id in ["7", "a", "A", "e\u{301}", "\u{e9}"] {
        let stored = post(&store, external(room, id)).await;
        assert_eq!(stored.external_id.as_deref(), Some(id));
        assert_eq!(store.messages_by_id(&[stored.id]).await.unwrap(), [stored]);
    }
    for new in [vec![external(other, "a")], vec![external(other, "new"), external(other, "new")]] {
        let mut tx = store.begin().await.unwrap();
        let to = lock(&mut *tx, other).await;
        assert_eq!(conflict(tx.insert_messages(to, new).await), "messages_external_id");
    }
    post(&store, external(other, "new")).await;
}

async fn places_are_found_by_conversation_and_id(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    let first = say(&store, room, &ann, "1").await.id;
    let (second, elsewhere) = (say(&store, room, &ann, "2").await.id, say(&store, other, &ann, "1").await.id);
    let asked = [(room, second), (room, first), (room, second), (room, elsewhere), (other, MessageId(1_000_000))];
    write(&store, async |tx| {
        let found = tx.seqs_of(&asked).await.unwrap();
        assert_eq!(found, HashMap::from([((room, second), 2), ((room, first), 1)]));
        assert!(tx.seqs_of(&[]).await.unwrap().is_empty());
    })
    .await;
}

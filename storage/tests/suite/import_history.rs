//! Tests of imported histories: they read, and go on, like histories that were sent.

use std::{collections::HashMap, sync::Arc};

use storage::{
    ConversationId, Folder, ImportedAttachment, ImportedConversation, ImportedMessage, ImportedParticipant, ImportedReaction,
    InboxFilter, Message, MessageId, NewAttachment, NewMessage, Page, ParticipantRole, ParticipantStatus, PartnerId, Revision,
    SearchScan, Storage, User, WindowState,
};
use uuid::Uuid;

use crate::{
    import::{NOW, all, import_messages, import_participants, import_rooms, new_room, participant},
    people::{Dice, at, begin, delete, file, join, lock, new_message, post, read_up_to, send, users, write},
};

on_every_backend!(a_history_that_was_imported_reads_like_one_that_was_sent, a_repeat_changes_nothing);

/// Everything that reads say of a room to each of these people, with numbers in place of ids.
pub(crate) async fn view(store: &Arc<dyn Storage>, room: ConversationId, people: &[User]) -> Vec<String> {
    let everything = all(store, room, PartnerId(0)).await;
    let seqs: HashMap<_, _> = everything.iter().map(|seen| (seen.message.id, seen.message.seq)).collect();
    let text = |message: &Message| {
        let Message { id: _, seq, author, message_type, body, metadata, external_id: _, support_side, held, .. } = message;
        let files: Vec<_> = message.attachments.iter().map(|file| (&file.name, file.size_bytes, &file.media)).collect();
        let times = (message.created_at, message.edited_at, message.edited_by, message.deleted_at, message.deleted_by);
        // A tombstone keeps what it was imported with.
        let reply = message.reply_to.filter(|_| message.deleted_at.is_none()).map(|id| seqs[&id]);
        format!("{seq} {author:?} {message_type:?} {body} {metadata:?} {support_side:?} {held} {files:?} {times:?} {reply:?}")
    };
    let conversation = store.conversation(room).await.unwrap().unwrap();
    let newest = (conversation.last_seq, conversation.last_message.map(|id| seqs[&id]), conversation.last_message_at);
    let mut lines = vec![format!("{newest:?}")];
    for place in store.participants(room).await.unwrap() {
        lines.push(format!("{:?} {:?} {:?}", place.person, (place.read_seq, place.unread, place.joined_at), place.status));
    }
    for reader in people.iter().map(|user| user.partner.id) {
        for page in [Page::Newest { offset: 3, limit: 9 }, Page::latest(7), Page::After { id: MessageId(0), limit: 1_000 }] {
            let page = store.messages(room, reader, page).await.unwrap();
            lines.extend(
                page.iter().map(|seen| format!("{reader} {} {:?} {}", seen.is_read, seen.reactions, text(&seen.message))),
            );
        }
        let entries = store.inbox(reader, InboxFilter { only: Some(&[room]), ..InboxFilter::default() }).await.unwrap();
        lines.extend(entries.iter().map(|entry| format!("{} {:?}", entry.unread, entry.last_message.as_ref().map(text))));
        lines.push(format!("read {:?}", store.read_by_others(room, reader).await.unwrap()));
        let unread = store.unread_by_others(reader, 100).await.unwrap();
        let unread = unread.iter().filter(|unread| unread.conversation == room);
        lines.extend(unread.map(|unread| format!("unread {:?} {}", unread.read, unread.own_seq)));
        lines.extend(store.last_messages(&[(room, reader)], reader).await.unwrap().iter().map(text));
        lines.extend(store.messages_with_files(room, reader, None, 100).await.unwrap().iter().map(text));
        for from in store.newest_messages(reader, Some(room), None).await.unwrap() {
            let scan = SearchScan { messages: 1_000, query: "WORD 1", limit: 100, bytes: usize::MAX };
            let found = store.search_messages(from, reader, scan).await.unwrap();
            lines.extend(found.matches.iter().map(|seen| text(&seen.message)));
        }
    }
    lines
}

/// Says, reads, edits, deletes and reacts at random.
async fn live(store: &Arc<dyn Storage>, dice: &mut Dice, room: ConversationId, people: &[User], steps: usize) {
    for step in 0..steps {
        let person = &people[dice.roll(people.len())];
        let (partner, when) = (person.partner.id, at(i64::try_from(step).unwrap()));
        let messages = all(store, room, PartnerId(0)).await;
        let some = (!messages.is_empty()).then(|| messages[dice.roll(messages.len())].message.clone());
        match (dice.roll(12), some) {
            (0..5, some) => {
                let new = new_message(room, person, &format!("word {step}"));
                post(store, NewMessage { created_at: when, reply_to: some.map(|message| message.id), ..new }).await;
            }
            (5, _) => drop(send(store, room, person, &[&file(store, person, &format!("{step}.png")).await]).await),
            (6..8, Some(message)) => drop(read_up_to(store, room, partner, message.seq).await),
            (8, Some(message)) if message.deleted_at.is_none() => drop(delete(store, &message).await),
            (9, Some(message)) if message.deleted_at.is_none() => {
                write(store, async |tx| {
                    let of = lock(tx, room).await;
                    tx.edit_message(&of[0], message.id, &format!("edited {step}"), partner, when).await.unwrap().unwrap();
                })
                .await;
            }
            (10.., Some(message)) if message.deleted_at.is_none() => {
                write(store, async |tx| {
                    let of = lock(tx, room).await;
                    tx.insert_reaction(&of[0], message.id, partner, ["+1", "-1"][step % 2], when).await.unwrap();
                })
                .await;
            }
            _ => {}
        }
    }
}

/// Rows to be imported into `room`, with everything that the messages of another room have, but no answered messages.
async fn copies(store: &Arc<dyn Storage>, from: ConversationId, room: ConversationId, people: &[User]) -> Vec<ImportedMessage> {
    let mut rows = Vec::new();
    for seen in all(store, from, PartnerId(0)).await {
        let message = seen.message;
        let mut reactions = Vec::new();
        for (content, partner) in
            ["+1", "-1"].into_iter().flat_map(|content| people.iter().map(move |user| (content, user.partner.id)))
        {
            let counts = store.reactions(message.id, partner).await.unwrap();
            if let Some(place) = counts.iter().position(|count| count.content == content && count.by_reader) {
                let when = at(i64::try_from(place).unwrap());
                reactions.push(ImportedReaction { partner, content: content.to_owned(), at: when });
            }
        }
        let files = message.attachments.iter().map(|file| {
            let file = file.clone();
            let object = format!("{}-again", file.object);
            let media = file.media;
            let (name, mimetype, access_token) = (file.name, file.mimetype, file.access_token);
            let (size_bytes, owner, created_at) = (file.size_bytes, file.owner, file.created_at);
            let file = NewAttachment { object, name, mimetype, size_bytes, access_token, owner, created_at, media };
            ImportedAttachment { id: None, file }
        });
        let files: Vec<_> = files.collect();
        let attachments = write(store, async |tx| {
            let _locked = lock(tx, room).await;
            tx.import(at(NOW)).import_attachments(&files).await.unwrap()
        })
        .await;
        let mark = |by: Option<PartnerId>, at: Option<_>| Some(Revision { by: by?, at: at? });
        rows.push(ImportedMessage {
            id: None,
            seq: Some(message.seq),
            edited: mark(message.edited_by, message.edited_at),
            deleted: mark(message.deleted_by, message.deleted_at),
            reactions,
            message: NewMessage {
                conversation: room,
                author: message.author,
                message_type: message.message_type,
                body: message.body,
                metadata: message.metadata,
                attachments,
                client_key: None,
                external_id: None,
                reply_to: None,
                support_side: message.support_side,
                held: message.held,
                created_at: message.created_at,
            },
        });
    }
    rows
}

/// Compares views line by line.
#[track_caller]
fn assert_same(imported: &[String], sent: &[String], seed: u64) {
    imported.iter().zip(sent).for_each(|(imported, sent)| assert_eq!(imported, sent, "seed {seed}"));
    assert_eq!(imported.len(), sent.len(), "seed {seed}");
}

fn shuffle<T>(dice: &mut Dice, items: &mut [T]) {
    (1..items.len()).for_each(|at| items.swap(at, dice.roll(at + 1)));
}

async fn a_history_that_was_imported_reads_like_one_that_was_sent(store: Arc<dyn Storage>) {
    for seed in 1..4 {
        let mut dice = Dice::new(seed);
        let names = ["ann", "ben", "cat", "dan"].map(|name| format!("{name} {seed}"));
        let people = users(&store, names.each_ref().map(String::as_str)).await;
        let sent = begin(&store, &[&people[0], &people[1], &people[2]]).await;
        live(&store, &mut dice, sent, &people[..3], 40).await;
        let before = store.conversation(sent).await.unwrap().unwrap().last_seq;
        join(&store, sent, &people[3], before).await;
        live(&store, &mut dice, sent, &people, 60).await;

        let room = import_rooms(&store, &[new_room(Uuid::new_v4())]).await[0];
        let mut rows = copies(&store, sent, room, &people).await;
        let places = store.participants(sent).await.unwrap();
        let places = places.into_iter().map(|place| ImportedParticipant {
            status: place.status,
            joined_at: place.joined_at,
            ..participant(room, place.person.partner.id, place.read_seq)
        });
        let places: Vec<_> = places.collect();
        let rest = rows.split_off(rows.len() / 2);
        let mut halves = [rows, rest];
        for half in &mut halves {
            shuffle(&mut dice, half);
            // Nobody joins before what is hidden was imported.
            let there: Vec<_> = places.iter().filter(|place| place.status.visible_from_seq == 0).cloned().collect();
            import_participants(&store, &there).await;
            let located = import_messages(&store, half).await;
            for (row, location) in half.iter_mut().zip(located) {
                assert_eq!((Some(location.seq), location.author), (row.seq, row.message.author.partner));
                row.id = Some(location.id);
            }
        }
        import_participants(&store, &places).await;
        // Answered messages are known only now.
        let mut rows = halves.concat();
        let ids: HashMap<_, _> = rows.iter().map(|row| (row.seq.unwrap(), row.id)).collect();
        let seqs = all(&store, sent, PartnerId(0)).await;
        let seq_of = |id: MessageId| seqs.iter().find(|seen| seen.message.id == id).unwrap().message.seq;
        let answered: HashMap<_, _> =
            seqs.iter().filter_map(|seen| Some((seen.message.seq, ids[&seq_of(seen.message.reply_to?)]))).collect();
        rows.iter_mut().for_each(|row| row.message.reply_to = answered.get(&row.seq.unwrap()).copied().flatten());
        import_messages(&store, &rows).await;
        assert_same(&view(&store, room, &people).await, &view(&store, sent, &people).await, seed);

        for step in 0..3 {
            for room in [sent, room] {
                live(&store, &mut Dice::new(seed + 10 * step), room, &people, 15).await;
            }
            assert_same(&view(&store, room, &people).await, &view(&store, sent, &people).await, seed);
        }
    }
}

async fn a_repeat_changes_nothing(store: Arc<dyn Storage>) {
    let people = users(&store, ["ann", "ben", "cat"]).await;
    let sent = begin(&store, &people.iter().collect::<Vec<_>>()).await;
    live(&store, &mut Dice::new(5), sent, &people, 60).await;
    let room = ImportedConversation { id: Some(ConversationId(90)), ..new_room(Uuid::new_v4()) };
    let id = import_rooms(&store, std::slice::from_ref(&room)).await[0];
    let mut rows = copies(&store, sent, id, &people).await;
    let places: Vec<_> = (0..)
        .zip(&people)
        .map(|(read_seq, user)| ImportedParticipant {
            window: WindowState::Folded,
            folder: Folder::Favorite,
            status: ParticipantStatus { role: ParticipantRole::Owner, muted_until: Some(at(9)), ..ParticipantStatus::default() },
            ..participant(id, user.partner.id, 5 * read_seq)
        })
        .collect();
    let mut known: Option<(Vec<String>, Vec<_>)> = None;
    for _ in 0..3 {
        import_rooms(&store, std::slice::from_ref(&room)).await;
        let located = import_messages(&store, &rows).await;
        import_participants(&store, &places).await;
        rows.iter_mut().zip(&located).for_each(|(row, location)| row.id = Some(location.id));
        let members = store.members_at(id, store.position().await.unwrap()).await.unwrap();
        let now = (view(&store, id, &people).await, members);
        assert_eq!(*known.get_or_insert_with(|| now.clone()), now);
    }
    // Read positions never go back, and moved ones are kept.
    let [_, ben, _] = people.each_ref().map(|user| user.partner.id);
    read_up_to(&store, id, ben, i64::MAX).await;
    import_participants(&store, &places).await;
    let entry = store.inbox(ben, InboxFilter { only: Some(&[id]), ..InboxFilter::default() }).await.unwrap().remove(0);
    assert_eq!((entry.unread, entry.window, entry.shelf), (0, WindowState::Folded, Folder::Favorite));
}

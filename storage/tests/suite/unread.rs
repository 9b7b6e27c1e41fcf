//! Tests of unread counts and read positions.

use std::{collections::HashMap, sync::Arc};

use storage::{
    ConversationId, InboxFilter, Message, MessageId, NewConversation, Page, PartnerId, ReadAdvance, Storage, ThreadType,
    UnreadByOthers, UnreadTotals, User,
};

use crate::people::{Dice, at, conversation, lock, new_conversation, read_up_to, say, users, write};

on_every_backend!(
    what_others_said_after_the_read_position_is_unread,
    the_read_position_never_goes_back_nor_beyond_the_end,
    many_read_on_at_once,
    who_joins_has_read_what_was_there_only_once_it_does,
    reading_everything_tells_what_changed,
    what_was_deleted_is_unread_for_nobody,
    of_two_who_read_and_delete_at_once_neither_is_passed_over,
    random_sends_reads_and_deletes_agree_with_counting,
    own_messages_that_nobody_else_has_read_are_known,
);

/// The read position and the number of unread messages of a participant.
async fn place(store: &Arc<dyn Storage>, of: ConversationId, partner: PartnerId) -> (i64, i64) {
    let (_, participant) = store.conversation_seen_by(of, partner).await.unwrap().expect("the conversation exists");
    let participant = participant.expect("the partner is in it");
    (participant.read_seq, participant.unread)
}

async fn what_others_said_after_the_read_position_is_unread(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    for by in [&ben, &ann, &ben, &ann] {
        say(&store, room, by, "hello").await;
    }
    assert_eq!(place(&store, room, ann.partner.id).await, (0, 2));
    assert_eq!(read_up_to(&store, room, ann.partner.id, 2).await, 1);
    assert_eq!(place(&store, room, ann.partner.id).await, (2, 1));
    assert_eq!(read_up_to(&store, room, ann.partner.id, 4).await, 1);
    assert_eq!(place(&store, room, ann.partner.id).await, (4, 0));
    assert_eq!(place(&store, room, ben.partner.id).await, (0, 2), "what one reads changes nothing for another");
    say(&store, room, &ann, "her own").await;
    assert_eq!(place(&store, room, ann.partner.id).await, (4, 0));
}

async fn the_read_position_never_goes_back_nor_beyond_the_end(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann]).await;
    for _ in 0..3 {
        say(&store, room, &ben, "hello").await;
    }
    let reader = ann.partner.id;
    assert_eq!(read_up_to(&store, room, reader, -5).await, 0);
    assert_eq!(place(&store, room, reader).await, (0, 3));
    assert_eq!(read_up_to(&store, room, reader, 2).await, 2);
    assert_eq!(read_up_to(&store, room, reader, 1).await, 0);
    assert_eq!(place(&store, room, reader).await, (2, 1));
    assert_eq!(read_up_to(&store, room, reader, i64::MAX).await, 1);
    assert_eq!(place(&store, room, reader).await, (3, 0));
    say(&store, room, &ben, "after that").await;
    assert_eq!(place(&store, room, reader).await, (3, 1));

    assert_eq!(read_up_to(&store, room, ben.partner.id, 4).await, 0, "who is not in it reads nothing");
    assert_eq!(read_up_to(&store, ConversationId(1_000), reader, 4).await, 0);
}

/// Tests a batch of marks: results are in the order of the requests.
async fn many_read_on_at_once(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let one = conversation(&store, &[&ann, &ben]).await;
    let two = conversation(&store, &[&ann, &ben]).await;
    for (of, by) in [(one, &ann), (one, &ben), (one, &ben), (two, &ben), (two, &ann)] {
        say(&store, of, by, "hello").await;
    }
    let asked = [
        (two, ann.partner.id, i64::MAX),
        (one, cat.partner.id, 3),
        (one, ben.partner.id, 1),
        (ConversationId(1_000), ann.partner.id, 1),
        (one, ann.partner.id, 2),
        (two, ben.partner.id, 1),
    ];
    let read = async || write(&store, async |tx| tx.advance_reads(&asked).await.unwrap()).await;
    let advanced = |unread, has_seen| Some(ReadAdvance { newly_read: unread, has_seen });
    assert_eq!(read().await, [advanced(1, true), None, advanced(1, true), None, advanced(1, true), advanced(0, false)]);
    assert_eq!(read().await, [None; 6], "never back, and no further");
    assert_eq!(place(&store, one, ann.partner.id).await, (2, 1));
    assert_eq!(place(&store, two, ann.partner.id).await, (2, 0));
    assert_eq!(place(&store, one, ben.partner.id).await, (1, 0), "what is its own is not unread");
    assert_eq!(write(&store, async |tx| tx.advance_reads(&[]).await.unwrap()).await, []);
}

async fn who_joins_has_read_what_was_there_only_once_it_does(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    for by in [&ann, &ann, &ben, &ann] {
        say(&store, room, by, "hello").await;
    }
    let joins = async |who: &User| {
        write(&store, async |tx| {
            let to = tx.lock_conversations(&[room]).await.unwrap().remove(0);
            tx.insert_participants(&to, &[who.partner.id], 0, who.created_at).await.unwrap();
        })
        .await;
    };
    let read = async |who: &User, seq| write(&store, async |tx| tx.advance_read(room, who.partner.id, seq).await.unwrap()).await;
    let by_others = async |but: &User| {
        let read = store.read_by_others(room, but.partner.id).await.unwrap();
        assert!(read.iter().all(|range| range.after == 0));
        read.last().map_or(0, |range| range.upto)
    };
    joins(&cat).await;
    assert_eq!((place(&store, room, cat.partner.id).await, by_others(&ann).await), ((4, 0), 0));
    assert_eq!(read(&cat, 2).await, ReadAdvance { newly_read: 0, has_seen: true });
    assert_eq!((place(&store, room, cat.partner.id).await, by_others(&ann).await), ((4, 0), 2));
    assert_eq!(read(&cat, 2).await, ReadAdvance::default(), "once");
    assert_eq!(read(&cat, 1).await, ReadAdvance::default(), "never back");
    assert_eq!((by_others(&cat).await, by_others(&ben).await), (0, 2), "by others");
    say(&store, room, &cat, "hi").await;
    assert_eq!(read(&cat, 5).await, ReadAdvance { newly_read: 0, has_seen: true }, "the rest of what was there");
    say(&store, room, &cat, "anybody?").await;
    assert_eq!(read(&cat, 6).await, ReadAdvance::default(), "of others there is no more");
    assert_eq!((place(&store, room, cat.partner.id).await, by_others(&ann).await), ((6, 0), 6));
    assert_eq!(read(&ben, i64::MAX).await, ReadAdvance { newly_read: 5, has_seen: true });
    write(&store, async |tx| {
        let of = tx.lock_conversations(&[room]).await.unwrap().remove(0);
        assert!(tx.delete_participant(&of, cat.partner.id).await.unwrap());
    })
    .await;
    assert_eq!(by_others(&ben).await, 6, "what was read stays read");
}

async fn reading_everything_tells_what_changed(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let mut rooms = Vec::new();
    for participants in [&[&ann, &ben][..], &[&ann, &ben], &[&ann, &ben], &[&ben]] {
        rooms.push(conversation(&store, participants).await);
    }
    for (room, by) in [(2, &ben), (2, &ann), (2, &ben), (0, &ben), (3, &ann)] {
        say(&store, rooms[room], by, "hello").await;
    }
    let everything = async || write(&store, async |tx| tx.advance_read_everywhere(ann.partner.id).await.unwrap()).await;
    assert_eq!(everything().await, [(rooms[0], 1, 1), (rooms[2], 2, 3)]);
    assert_eq!(everything().await, []);
    assert_eq!(place(&store, rooms[2], ann.partner.id).await, (3, 0));
    assert_eq!(place(&store, rooms[2], ben.partner.id).await, (0, 1));
    assert_eq!(store.unread_totals(ann.partner.id).await.unwrap(), UnreadTotals::default());
    say(&store, rooms[1], &ann, "her own").await;
    assert_eq!(everything().await, [(rooms[1], 0, 1)], "the position moves over one's own messages, too");
}

async fn delete(store: &Arc<dyn Storage>, message: &Message) {
    write(store, async |tx| {
        let locked = lock(tx, message.conversation).await;
        tx.delete_message(&locked[0], message.id, message.author.partner, at(9)).await.unwrap().unwrap();
    })
    .await;
}

async fn what_was_deleted_is_unread_for_nobody(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = conversation(&store, &[&ann, &ben, &cat]).await;
    let mut said = Vec::new();
    for by in [&ben, &ann, &ben, &ben] {
        said.push(say(&store, room, by, "hello").await);
    }
    read_up_to(&store, room, cat.partner.id, 1).await;
    for message in [&said[0], &said[2], &said[2]] {
        delete(&store, message).await;
    }
    assert_eq!(place(&store, room, ann.partner.id).await, (0, 1), "one is left of three");
    assert_eq!(place(&store, room, ben.partner.id).await, (0, 1), "it was nobody's but his own");
    assert_eq!(place(&store, room, cat.partner.id).await, (1, 2), "one of the two was read");
    assert_eq!(store.unread_totals(cat.partner.id).await.unwrap(), UnreadTotals { group: 2, ..UnreadTotals::default() });
    assert_eq!(read_up_to(&store, room, ann.partner.id, 3).await, 0);
    assert_eq!(place(&store, room, ann.partner.id).await, (3, 1));
    assert_eq!(read_up_to(&store, room, ann.partner.id, 4).await, 1);
    assert_eq!(place(&store, room, ann.partner.id).await, (4, 0));
    assert_eq!(read_up_to(&store, room, cat.partner.id, 2).await, 1);
    let everything = write(&store, async |tx| tx.advance_read_everywhere(cat.partner.id).await.unwrap()).await;
    assert_eq!(everything, [(room, 1, 4)]);
    say(&store, room, &ben, "after that").await;
    for partner in [ann.partner.id, cat.partner.id] {
        assert_eq!(place(&store, room, partner).await, (4, 1));
    }
}

async fn of_two_who_read_and_delete_at_once_neither_is_passed_over(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    for _ in 0..40 {
        let gone = say(&store, room, &ben, "gone").await;
        let left = say(&store, room, &ben, "left").await;
        let (_, ()) = tokio::join!(read_up_to(&store, room, ann.partner.id, gone.seq), delete(&store, &gone));
        assert_eq!(place(&store, room, ann.partner.id).await, (gone.seq, 1));
        read_up_to(&store, room, ann.partner.id, left.seq).await;
    }
}

/// Counts unread messages by reading all of them, as a reference for the backends' counters.
async fn count(store: &Arc<dyn Storage>, of: ConversationId, partner: PartnerId, read_seq: i64) -> i64 {
    let all = store.messages(of, partner, Page::After { id: MessageId(0), limit: 10_000 }).await.unwrap();
    let counts = |message: &Message| message.author.partner != partner && message.deleted_at.is_none();
    let unread = all.iter().filter(|seen| seen.message.seq > read_seq && counts(&seen.message));
    i64::try_from(unread.count()).expect("a few")
}

async fn random_sends_reads_and_deletes_agree_with_counting(store: Arc<dyn Storage>) {
    let people = users(&store, ["ann", "ben", "cat", "dan"]).await;
    let everybody: Vec<&User> = people.iter().collect();
    let mut rooms = Vec::new();
    for thread_type in [ThreadType::Chat, ThreadType::Group, ThreadType::Sms, ThreadType::Group] {
        let new = NewConversation { thread_type, ..new_conversation(&everybody) };
        rooms.push(write(&store, async |tx| tx.insert_conversation(new).await.unwrap().id).await);
    }
    let mut dice = Dice::new(1);
    let mut read: HashMap<(ConversationId, PartnerId), i64> = HashMap::new();
    let mut last: HashMap<ConversationId, i64> = HashMap::new();
    let mut said = Vec::new();
    for _ in 0..300 {
        let (room, person) = (rooms[dice.roll(rooms.len())], &people[dice.roll(people.len())]);
        let partner = person.partner.id;
        match dice.roll(24) {
            0..12 => {
                let message = say(&store, room, person, "hello").await;
                last.insert(room, message.seq);
                said.push(message);
            }
            19..23 if !said.is_empty() => {
                let gone = said.swap_remove(dice.roll(said.len()));
                delete(&store, &gone).await;
            }
            12..19 => {
                let position = read.entry((room, partner)).or_default();
                let end = last.get(&room).copied().unwrap_or(0);
                let seq = i64::try_from(dice.roll(100)).expect("small") % (end + 2);
                let before = count(&store, room, partner, *position).await;
                *position = seq.min(end).max(*position);
                let after = count(&store, room, partner, *position).await;
                assert_eq!(read_up_to(&store, room, partner, seq).await, before - after);
            }
            _ => {
                let mut expected = Vec::new();
                for room in &rooms {
                    let end = last.get(room).copied().unwrap_or(0);
                    let before = read.insert((*room, partner), end).unwrap_or(0);
                    if before < end {
                        expected.push((*room, count(&store, *room, partner, before).await, end));
                    }
                }
                let changed = write(&store, async |tx| tx.advance_read_everywhere(partner).await.unwrap()).await;
                assert_eq!(changed, expected);
            }
        }
    }
    for partner in people.map(|person| person.partner.id) {
        let mut totals = UnreadTotals::default();
        for entry in store.inbox(partner, InboxFilter::default()).await.unwrap() {
            let room = entry.conversation.id;
            let read_seq = read.get(&(room, partner)).copied().unwrap_or(0);
            let unread = count(&store, room, partner, read_seq).await;
            assert_eq!(entry.unread, unread);
            assert_eq!(place(&store, room, partner).await, (read_seq, unread));
            match entry.conversation.thread_type {
                ThreadType::Chat => totals.chat += unread,
                ThreadType::Group => totals.group += unread,
                ThreadType::Sms => totals.sms += unread,
            }
        }
        assert_eq!(store.unread_totals(partner).await.unwrap(), totals);
    }
}

async fn own_messages_that_nobody_else_has_read_are_known(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(conversation(&store, &[&ann, &ben, &cat]).await);
    }
    for (room, by) in [(2, &ann), (0, &ben), (0, &ann), (1, &ann), (0, &ann), (0, &ben), (3, &ben)] {
        say(&store, rooms[room], by, "hello").await;
    }
    let unread = async |limit| {
        let unread = store.unread_by_others(ann.partner.id, limit).await.unwrap();
        let upto = |unread: &UnreadByOthers| unread.read.last().map_or(0, |range| range.upto);
        let mut unread: Vec<_> = unread.iter().map(|unread| (unread.conversation, upto(unread), unread.own_seq)).collect();
        unread.sort_unstable();
        unread
    };
    assert_eq!(unread(9).await, [(rooms[0], 0, 3), (rooms[1], 0, 1), (rooms[2], 0, 1)]);
    assert_eq!(unread(2).await, [(rooms[0], 0, 3), (rooms[1], 0, 1)], "those with the newest");
    for (room, by, seq) in [(0, &ann, 4), (0, &ben, 1), (0, &cat, 2), (1, &cat, 1), (2, &ann, 1)] {
        read_up_to(&store, rooms[room], by.partner.id, seq).await;
    }
    assert_eq!(unread(9).await, [(rooms[0], 2, 3), (rooms[2], 0, 1)]);
    read_up_to(&store, rooms[0], ben.partner.id, 3).await;
    assert_eq!(unread(9).await, [(rooms[2], 0, 1)]);
}

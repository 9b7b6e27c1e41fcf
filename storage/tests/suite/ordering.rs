//! Tests of concurrent writers: messages become visible in order, and nothing deadlocks.

use std::{collections::HashMap, sync::Arc};

use storage::{ConversationId, Fact, Message, MessageId, Page, Storage, Topic, User};
use tokio::task::JoinSet;

use crate::people::{Dice, conversation, new_message, say, users};

on_every_backend!(
    messages_become_visible_in_order,
    several_conversations_in_any_order_never_deadlock,
    reading_everything_beside_writers_never_deadlocks,
);

const WRITERS: usize = 16;
const ROOMS: usize = 8;
const POSTS: usize = 12;

async fn rooms(store: &Arc<dyn Storage>, participants: &[&User]) -> Vec<ConversationId> {
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(conversation(store, participants).await);
    }
    rooms
}

/// Posts to randomly chosen conversations, in one transaction.
async fn post_to_several(store: &Arc<dyn Storage>, by: &User, rooms: &[ConversationId], dice: &mut Dice) -> Vec<Message> {
    let chosen: Vec<_> = (0..=dice.roll(4)).map(|_| rooms[dice.roll(rooms.len())]).collect();
    let mut tx = store.begin().await.unwrap();
    let to = tx.lock_conversations(&chosen).await.unwrap();
    // A yield lets other writers interleave, also in a backend whose writes never wait.
    tokio::task::yield_now().await;
    let new = chosen.iter().map(|room| new_message(*room, by, "hello")).collect();
    let messages = tx.insert_messages(to, new).await.unwrap();
    for message in &messages {
        tx.record(Topic::Conversation(message.conversation), Fact::MessagePosted(message.clone()), message.created_at);
    }
    tx.commit().await.unwrap();
    messages
}

/// Starts writers, each of which posts several times.
fn writers(store: &Arc<dyn Storage>, people: &[User], rooms: &[ConversationId]) -> JoinSet<Vec<Message>> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, by, rooms) = (Arc::clone(store), people[writer % people.len()].clone(), rooms.to_vec());
        let mut dice = Dice::new(writer as u64 + 1);
        writers.spawn(async move {
            let mut posted = Vec::new();
            for _ in 0..POSTS {
                posted.extend(post_to_several(&store, &by, &rooms, &mut dice).await);
            }
            posted
        });
    }
    writers
}

/// All messages of a conversation, with ids and `seq`s checked to ascend.
async fn history(store: &Arc<dyn Storage>, of: ConversationId, reader: &User) -> Vec<Message> {
    let page = Page::After { id: MessageId(0), limit: 100_000 };
    let all = store.messages(of, reader.partner.id, page).await.unwrap();
    let all: Vec<_> = all.into_iter().map(|seen| seen.message).collect();
    assert!(all.is_sorted_by(|a, b| a.id < b.id));
    assert!(all.iter().map(|message| message.seq).eq(1..=all.len() as i64));
    all
}

async fn several_conversations_in_any_order_never_deadlock(store: Arc<dyn Storage>) {
    let people = users(&store, ["ann", "ben", "cat"]).await;
    let rooms = rooms(&store, &[&people[0], &people[1], &people[2]]).await;
    let mut posted: HashMap<_, Vec<_>> = HashMap::new();
    for message in writers(&store, &people, &rooms).join_all().await.into_iter().flatten() {
        posted.entry(message.conversation).or_default().push(message);
    }
    for room in rooms {
        let mut posted = posted.remove(&room).unwrap_or_default();
        posted.sort_by_key(|message| message.id);
        assert_eq!(history(&store, room, &people[0]).await, posted);
    }
}

async fn messages_become_visible_in_order(store: Arc<dyn Storage>) {
    let people = users(&store, ["ann", "ben"]).await;
    let rooms = rooms(&store, &[&people[0], &people[1]]).await;
    let writers = writers(&store, &people, &rooms);

    let mut readers = JoinSet::new();
    let (done, stop) = tokio::sync::watch::channel(false);
    for room in rooms.clone() {
        let (store, reader, stop) = (Arc::clone(&store), people[0].partner.id, stop.clone());
        readers.spawn(async move {
            let mut followed: Vec<Message> = Vec::new();
            loop {
                // The stop flag is read before the page: no message after the last commit is missed.
                let last_round = *stop.borrow();
                let id = followed.last().map_or(MessageId(0), |message| message.id);
                let page = store.messages(room, reader, Page::After { id, limit: 3 }).await.unwrap();
                if last_round && page.is_empty() {
                    return (room, followed);
                }
                followed.extend(page.into_iter().map(|seen| seen.message));
                tokio::task::yield_now().await;
            }
        });
    }
    let posted: usize = writers.join_all().await.iter().map(Vec::len).sum();
    done.send(true).unwrap();
    let mut count = 0;
    for (room, followed) in readers.join_all().await {
        assert_eq!(followed, history(&store, room, &people[0]).await);
        count += followed.len();
    }
    assert_eq!(count, posted);
}

async fn reading_everything_beside_writers_never_deadlocks(store: Arc<dyn Storage>) {
    let people = users(&store, ["ann", "ben", "cat"]).await;
    let rooms = rooms(&store, &[&people[0], &people[1], &people[2]]).await;
    let writers = writers(&store, &people, &rooms);
    let mut readers = JoinSet::new();
    for reader in people.clone().map(|person| person.partner.id) {
        let store = Arc::clone(&store);
        readers.spawn(async move {
            for _ in 0..POSTS {
                let mut tx = store.begin().await.unwrap();
                tx.advance_read_everywhere(reader).await.unwrap();
                tx.commit().await.unwrap();
            }
        });
    }
    writers.join_all().await;
    readers.join_all().await;
    for room in rooms {
        let last = say(&store, room, &people[0], "the last").await.seq;
        for participant in store.participants(room).await.unwrap() {
            let all = history(&store, room, &people[0]).await;
            let theirs = |message: &&Message| message.author.partner != participant.person.partner.id;
            let unread = all.iter().filter(|message| message.seq > participant.read_seq).filter(theirs).count();
            assert_eq!(participant.unread, unread as i64);
            assert!(participant.read_seq < last);
        }
    }
}

//! Tests of the event log: positions, scopes, the tail, retention and gaps.

use std::{collections::HashSet, sync::Arc};

use storage::{AttachmentId, Event, Fact, NO_CLIENT, PartnerId, Position, Scope, Storage, Topic, UserId};
use tokio::task::JoinSet;

use crate::people::{at, begin, conversation, new_attachment, say, users, write};

on_every_backend!(
    a_commit_gives_the_events_it_wrote,
    every_fact_comes_back_as_it_was_recorded,
    scopes_give_exactly_what_concerns_them,
    limits_are_kept,
    a_tail_under_load_misses_nothing,
    old_events_are_forgotten_from_the_oldest_on,
    events_are_forgotten_beside_writers,
    a_log_goes_on_after_a_gap_with_greater_ids_and_positions,
    the_state_of_the_log_shows_its_head_and_marks,
);

/// A fact with a number that identifies it.
fn fact(number: i64) -> Fact {
    Fact::AttachmentDeleted { attachment: AttachmentId(number) }
}

fn number(event: &Event) -> Option<i64> {
    match event.fact {
        Fact::AttachmentDeleted { attachment } => Some(attachment.0),
        _ => None,
    }
}

async fn record(store: &Arc<dyn Storage>, topic: Topic, numbers: &[i64]) -> Vec<Event> {
    let mut tx = store.begin().await.unwrap();
    for number in numbers {
        tx.record(topic, fact(*number), at(*number));
    }
    tx.commit().await.unwrap()
}

async fn numbers(store: &Arc<dyn Storage>, after: i64, scope: Scope, limit: usize) -> Vec<i64> {
    store.events(Position(after), scope, limit).await.unwrap().iter().filter_map(number).collect()
}

async fn a_commit_gives_the_events_it_wrote(store: Arc<dyn Storage>) {
    let topic = Topic::Partner(PartnerId(1));
    let first = record(&store, topic, &[10, 20]).await;
    assert_eq!(record(&store, topic, &[]).await, []);
    drop({
        let mut tx = store.begin().await.unwrap();
        tx.record(topic, fact(99), at(0));
        tx
    });
    let second = record(&store, topic, &[30]).await;
    let expected = [(1, 10), (2, 20), (3, 30)].map(|(position, number)| Event {
        position: Position(position),
        topic,
        fact: fact(number),
        at: at(number),
    });
    assert_eq!([first, second].concat(), expected);
    assert_eq!(store.events(Position(0), Scope::Everything, 10).await.unwrap(), expected);
    assert_eq!(store.events(Position(1), Scope::Everything, 10).await.unwrap(), expected[1..]);
    assert_eq!(store.events(Position(3), Scope::Everything, 10).await.unwrap(), []);
    assert_eq!(store.events(Position(1_000), Scope::Everything, 10).await.unwrap(), []);
    assert_eq!(store.position().await.unwrap(), Position(3));
}

async fn every_fact_comes_back_as_it_was_recorded(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let mut message = say(&store, room, &ann, "Ünï 안 🦀").await;
    message.metadata = Some(serde_json::from_str(r#"{"z": null, "a":[1.50, "ä\u0000"], "a": 1e400}"#).unwrap());
    message.attachments = vec![write(&store, async |tx| tx.insert_attachment(new_attachment(&ann, "file")).await.unwrap()).await];
    let told = store.conversation(room).await.unwrap().unwrap();
    let partner = ann.partner.id;
    let facts = [
        Fact::MessagePosted(message.clone()),
        Fact::MessageEdited(message.clone()),
        Fact::MessageDeleted(message.clone()),
        Fact::MessageShown(message.clone()),
        Fact::ReadUpTo { partner, seq: 7, messages: vec![message.id] },
        Fact::ConversationCreated(told.clone()),
        Fact::ConversationChanged(told),
        Fact::ParticipantJoined { partner, visible_from_seq: 7 },
        fact(4),
        Fact::SessionEnded { session: "ab".repeat(32) },
        Fact::UserChanged { user: UserId(i64::MAX) },
        Fact::MessageReacted { message: message.id, seq: 3, partner, content: "👍 \"".to_owned(), removed: true },
        Fact::MemberUnread { user: ann.id, conversation: room, message: message.id },
        Fact::UserErased { user: ann.id, partner },
        Fact::StoreChanged,
        Fact::LogRestarted { epoch: 2, from: Position(7), to: Position(i64::MAX) },
    ];
    let after = store.position().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    for fact in &facts {
        tx.record(Topic::Conversation(room), fact.clone(), at(1));
    }
    tx.commit().await.unwrap();
    let events = store.events(after, Scope::Everything, 100).await.unwrap();
    assert!(events.iter().map(|event| &event.fact).eq(&facts), "{events:?}");

    write(&store, async |tx| tx.record(Topic::Partner(NO_CLIENT), Fact::StoreChanged, at(1))).await;
    let nobodys = store.events(Position(0), Scope::Partner(NO_CLIENT), 100).await.unwrap();
    assert_eq!(nobodys.iter().map(|event| &event.fact).collect::<Vec<_>>(), [&Fact::StoreChanged]);
    assert_eq!(store.events(events[events.len() - 1].position, Scope::Partner(partner), 100).await.unwrap(), []);
}

async fn scopes_give_exactly_what_concerns_them(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let [shared, his, late] = [begin(&store, &[&ann, &ben]).await, begin(&store, &[&ben]).await, begin(&store, &[]).await];
    let (ann, ben) = (ann.partner.id, ben.partner.id);
    let topics = [
        Topic::Conversation(shared),
        Topic::Partner(ann),
        Topic::Conversation(his),
        Topic::Conversation(shared),
        Topic::Partner(ben),
        Topic::Conversation(late),
        Topic::Partner(ann),
        Topic::Conversation(shared),
    ];
    let Position(begun) = store.position().await.unwrap();
    for (number, topic) in (1..).zip(topics) {
        record(&store, topic, &[number]).await;
    }
    let of = async |scope| numbers(&store, 0, scope, 100).await;
    assert_eq!(of(Scope::Everything).await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(of(Scope::Conversation(shared)).await, [1, 4, 8]);
    assert_eq!(of(Scope::Conversation(late)).await, [6]);
    assert_eq!(of(Scope::Partner(ann)).await, [1, 2, 4, 7, 8]);
    assert_eq!(of(Scope::Partner(ben)).await, [1, 3, 4, 5, 8]);
    assert_eq!(of(Scope::Partner(PartnerId(1_000))).await, [0; 0]);
    assert_eq!(numbers(&store, begun + 4, Scope::Partner(ann), 1).await, [7]);
    assert_eq!(numbers(&store, begun + 4, Scope::Conversation(shared), 100).await, [8]);
}

async fn limits_are_kept(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = begin(&store, &[&ann]).await;
    let Position(begun) = store.position().await.unwrap();
    let all: Vec<_> = (1..=20).collect();
    for pair in all.chunks(2) {
        record(&store, Topic::Conversation(room), &pair[..1]).await;
        record(&store, Topic::Partner(ann.partner.id), &pair[1..]).await;
    }
    for scope in [Scope::Everything, Scope::Partner(ann.partner.id)] {
        assert_eq!(numbers(&store, begun, scope, 0).await, [0; 0]);
        assert_eq!(numbers(&store, begun, scope, 5).await, all[..5]);
        assert_eq!(numbers(&store, begun + 3, scope, 5).await, all[3..8]);
        assert_eq!(numbers(&store, begun + 18, scope, 5).await, all[18..]);
    }
    assert_eq!(numbers(&store, begun + 3, Scope::Conversation(room), 2).await, [5, 7]);
}

async fn old_events_are_forgotten_from_the_oldest_on(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = begin(&store, &[&ann]).await;
    let partner = ann.partner.id;
    // The conversation begins at 0. Times 50 and 40 simulate a clock that is fast.
    let mut tx = store.begin().await.unwrap();
    for (number, time) in [(2, 20), (3, 30), (4, 50), (5, 40), (6, 60), (7, 70)] {
        let topic = if number % 2 == 0 { Topic::Conversation(room) } else { Topic::Partner(partner) };
        tx.record(topic, fact(number), at(time));
    }
    tx.commit().await.unwrap();
    let everywhere = async |after| {
        let mut read = Vec::new();
        for scope in [Scope::Everything, Scope::Conversation(room), Scope::Partner(partner)] {
            read.push(numbers(&store, after, scope, 100).await);
        }
        read
    };
    let position_at = async |time| store.position_at(at(time)).await.unwrap().0;
    assert_eq!(store.forget_events(at(0), 100).await.unwrap(), 0);
    assert_eq!(store.forget_events(at(45), 2).await.unwrap(), 2, "no more than asked");
    assert_eq!(everywhere(0).await, [vec![3, 4, 5, 6, 7], vec![4, 6], vec![3, 4, 5, 6, 7]]);
    assert_eq!((position_at(-1).await, position_at(30).await, position_at(65).await), (2, 3, 6));
    assert_eq!(store.forget_events(at(45), 100).await.unwrap(), 1, "up to the first that is young enough");
    assert_eq!(everywhere(0).await, [vec![4, 5, 6, 7], vec![4, 6], vec![4, 5, 6, 7]], "who was away for too long gets the rest");
    assert_eq!(everywhere(5).await, [vec![6, 7], vec![6], vec![6, 7]]);
    assert_eq!(store.forget_events(at(45), 100).await.unwrap(), 0);
    assert_eq!(store.forget_events(at(100), 100).await.unwrap(), 4);
    assert_eq!(everywhere(0).await, [vec![0; 0], vec![], vec![]]);
    assert_eq!((position_at(-1).await, position_at(1_000).await), (7, 7), "all that was is older");
    assert_eq!(store.position().await.unwrap(), Position(7));
    let next = record(&store, Topic::Partner(partner), &[8]).await;
    assert_eq!(next[0].position, Position(8));
    assert_eq!(everywhere(0).await, [vec![8], vec![], vec![8]]);
    assert_eq!((position_at(7).await, position_at(8).await), (7, 8));
}

/// Tests that writers and `forget_events` run concurrently, and that younger events stay.
async fn events_are_forgotten_beside_writers(store: Arc<dyn Storage>) {
    const COMMITS: i64 = 100;
    let topic = Topic::Partner(PartnerId(1));
    for number in 1..=COMMITS {
        record(&store, topic, &[number]).await;
    }
    let writing = Arc::clone(&store);
    let mut writers = JoinSet::new();
    writers.spawn(async move {
        for number in COMMITS + 1..=2 * COMMITS {
            record(&writing, topic, &[number]).await;
        }
    });
    let mut forgotten = 0;
    while forgotten < COMMITS as u64 {
        let (one, other) = tokio::join!(store.forget_events(at(COMMITS + 1), 7), store.forget_events(at(COMMITS + 1), 7));
        forgotten += one.unwrap() + other.unwrap();
    }
    writers.join_all().await;
    let left = numbers(&store, 0, Scope::Partner(PartnerId(1)), 1_000).await;
    assert!(left.into_iter().eq(COMMITS + 1..=2 * COMMITS));
}

async fn a_tail_under_load_misses_nothing(store: Arc<dyn Storage>) {
    const WRITERS: i64 = 16;
    const COMMITS: i64 = 20;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut committed = Vec::new();
            for commit in 0..COMMITS {
                let mut tx = store.begin().await.unwrap();
                let base = (writer * COMMITS + commit) * 10;
                let recorded: Vec<_> = (base..=base + commit % 3).collect();
                for number in &recorded {
                    tx.record(Topic::Partner(PartnerId(writer)), fact(*number), at(0));
                }
                if commit % 4 == 1 {
                    drop(tx);
                } else {
                    committed.extend(tx.commit().await.unwrap());
                }
            }
            committed
        });
    }
    // Number of events of a commit; the tail has all of them when it has the sum.
    let events = |commit: i64| if commit % 4 == 1 { 0 } else { commit % 3 + 1 };
    let expected = usize::try_from(WRITERS * (0..COMMITS).map(events).sum::<i64>()).expect("a few");

    let mut tail: Vec<Event> = Vec::new();
    while tail.len() < expected {
        let after = tail.last().map_or(Position(0), |event| event.position);
        let next = store.events(after, Scope::Everything, 7).await.unwrap();
        assert!(next.len() <= 7);
        tail.extend(next);
        tokio::task::yield_now().await;
    }
    let mut committed = writers.join_all().await.concat();
    committed.sort_by_key(|event| event.position);
    assert_eq!(tail, committed);
    assert!(tail.iter().map(|event| event.position.0).eq(1..=expected as i64), "positions have a gap");
    assert_eq!(tail.iter().filter_map(number).collect::<HashSet<_>>().len(), expected);
    assert_eq!(store.position().await.unwrap(), Position(expected as i64));
}

/// Tests a gap in the event log: reads by position, reads by time and retention skip it.
async fn a_log_goes_on_after_a_gap_with_greater_ids_and_positions(store: Arc<dyn Storage>) {
    const BY: i64 = 1_000_000;
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let said = say(&store, room, &ann, "before").await;
    record(&store, Topic::Conversation(room), &[10]).await;
    let head = store.position().await.unwrap();
    let known = Position(head.0 + 7);
    let mut tx = store.begin().await.unwrap();
    let gap = tx.skip_positions(known, BY).await.unwrap();
    assert_eq!(gap, (Position(head.0 + 1), Position(known.0 + BY)));
    tx.record(Topic::Partner(NO_CLIENT), Fact::LogRestarted { epoch: 1, from: gap.0, to: gap.1 }, at(50));
    let restarted = tx.commit().await.unwrap();
    assert_eq!(restarted[0].position, Position(gap.1.0 + 1));
    assert_eq!(store.position().await.unwrap(), restarted[0].position);

    let [ben] = users(&store, ["ben"]).await;
    let other = conversation(&store, &[&ann, &ben]).await;
    let later = say(&store, room, &ann, "after").await;
    record(&store, Topic::Conversation(room), &[60]).await;
    assert!(ben.id.0 > ann.id.0 + BY && ben.partner.id.0 > ann.partner.id.0 + BY);
    assert!(other.0 > room.0 + BY && later.id.0 > said.id.0 + BY);
    assert!(store.draw_message_id().await.unwrap() > later.id);

    let told = store.events(head, Scope::Everything, 10).await.unwrap();
    assert_eq!(told[0], restarted[0]);
    assert_eq!(numbers(&store, 0, Scope::Conversation(room), 100).await, [10, 60]);
    assert_eq!(store.position_at(at(40)).await.unwrap(), head, "what happened before the gap");
    let newest = told.last().unwrap().position;
    assert_eq!(store.position_at(at(59)).await.unwrap(), Position(newest.0 - 1));
    assert_eq!(store.forget_events(at(50), 100).await.unwrap(), head.0 as u64);
    assert_eq!(store.events(Position(0), Scope::Everything, 1).await.unwrap(), restarted);
    assert_eq!(store.position_at(at(-1)).await.unwrap(), gap.1, "the one before the oldest");
    drop({
        let mut tx = store.begin().await.unwrap();
        tx.skip_positions(known, BY).await.unwrap();
        tx
    });
    assert_eq!(store.position().await.unwrap(), newest, "what was given up is undone");
}

async fn the_state_of_the_log_shows_its_head_and_marks(store: Arc<dyn Storage>) {
    let topic = Topic::Partner(PartnerId(1));
    let before = store.log_state(Position(1)).await.unwrap();
    assert_eq!((before.head, before.requested, before.newest), (Position(0), None, None));
    record(&store, topic, &[1, 2]).await;
    let first = store.log_state(Position(2)).await.unwrap();
    assert_eq!(first.head, Position(2));
    assert_eq!(first.timeline, before.timeline);
    // A store that never goes back has no marks.
    let Some(newest) = first.newest else { return assert_eq!(first.timeline, None) };
    assert_eq!(newest.position, Position(1), "the first of its transaction");
    assert_eq!(first.requested.map(|second| second.mark), Some(None), "the second has none");
    record(&store, topic, &[3]).await;
    let second = store.log_state(newest.position).await.unwrap();
    assert_eq!((second.head, second.requested), (Position(3), Some(newest)));
    assert!(second.newest.is_some_and(|mark| mark.position == Position(3) && mark.mark != newest.mark));
    assert!(second.timeline.is_some_and(|timeline| timeline > 0));
    store.accept_timeline(second.timeline);
    record(&store, topic, &[4]).await;
}

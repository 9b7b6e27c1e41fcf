//! Tests of membership intervals: a partner receives the events from the intervals of its membership.

use std::{collections::BTreeSet, sync::Arc};

use storage::{AttachmentId, ConversationId, Event, Fact, PartnerId, Position, Scope, Storage, Topic, Tx, User};

use crate::people::{Dice, at, begin, lock, users, write};

on_every_backend!(
    everybody_finds_what_happened_while_it_was_in,
    one_transaction_may_bring_in_and_out_and_in_again,
    who_was_in_is_forgotten_with_what_happened,
);

async fn join(tx: &mut dyn Tx, room: ConversationId, partner: PartnerId) {
    let to = lock(tx, room).await;
    assert_eq!(tx.insert_participants(&to[0], &[partner], 0, at(0)).await.unwrap(), [partner]);
    tx.record(Topic::Conversation(room), Fact::ParticipantJoined { partner, visible_from_seq: 0 }, at(0));
}

async fn leave(tx: &mut dyn Tx, room: ConversationId, partner: PartnerId) {
    let from = lock(tx, room).await;
    assert!(tx.delete_participant(&from[0], partner).await.unwrap());
    let left = Fact::ParticipantLeft { conversation: room, partner };
    tx.record(Topic::Conversation(room), left.clone(), at(0));
    tx.record(Topic::Partner(partner), left, at(0));
}

/// Members at that position, hidden messages or not.
async fn members(store: &Arc<dyn Storage>, room: ConversationId, at: Position) -> Vec<PartnerId> {
    store.members_at(room, at).await.unwrap().iter().map(|member| member.partner).collect()
}

fn happen(tx: &mut dyn Tx, room: ConversationId) {
    tx.record(Topic::Conversation(room), Fact::AttachmentDeleted { attachment: AttachmentId(1) }, at(0));
}

/// A conversation and its current members.
type Room = (ConversationId, BTreeSet<PartnerId>);

/// Records a random event, and appends it to `told` with its recipients: the members at that moment, and a partner whom
/// it concerns alone.
async fn act(
    store: &Arc<dyn Storage>,
    dice: &mut Dice,
    people: &[User],
    rooms: &mut [Room],
    told: &mut Vec<(Event, Vec<PartnerId>)>,
) {
    let somebody = people[dice.roll(people.len())].partner.id;
    let (room, members) = {
        let index = dice.roll(rooms.len());
        &mut rooms[index]
    };
    let mut tx = store.begin().await.unwrap();
    match dice.roll(3) {
        0 => happen(&mut *tx, *room),
        _ if members.remove(&somebody) => leave(&mut *tx, *room, somebody).await,
        _ => {
            members.insert(somebody);
            join(&mut *tx, *room, somebody).await;
        }
    }
    let members: Vec<_> = members.iter().copied().collect();
    told.extend(tx.commit().await.unwrap().into_iter().map(|event| match event.topic {
        Topic::Conversation(_) => (event, members.clone()),
        Topic::Partner(partner) => (event, vec![partner]),
    }));
}

async fn everybody_finds_what_happened_while_it_was_in(store: Arc<dyn Storage>) {
    let people = users(&store, ["ann", "ben", "cat", "dan"]).await;
    let mut rooms: Vec<Room> = Vec::new();
    let mut told: Vec<(Event, Vec<PartnerId>)> = Vec::new();
    for founders in [&people[..2], &people[1..3], &people[..0]] {
        let id = begin(&store, &founders.iter().collect::<Vec<_>>()).await;
        let members: BTreeSet<_> = founders.iter().map(|user| user.partner.id).collect();
        let event = store.events(store.position().await.unwrap(), Scope::Everything, 1).await.unwrap();
        assert_eq!(event, []);
        let begun = store.events(Position(told.len() as i64), Scope::Everything, 1).await.unwrap().remove(0);
        told.push((begun, members.iter().copied().collect()));
        rooms.push((id, members));
    }
    let mut dice = Dice::new(7);
    for _ in 0..120 {
        act(&store, &mut dice, &people, &mut rooms, &mut told).await;
    }
    for (event, audience) in &told {
        if let Topic::Conversation(id) = event.topic {
            assert_eq!(members(&store, id, event.position).await, *audience, "{event:?}");
        }
    }
    for partner in people.iter().map(|user| user.partner.id) {
        let concerned = |(event, audience): &(Event, Vec<PartnerId>)| audience.contains(&partner).then(|| event.clone());
        let expected: Vec<_> = told.iter().filter_map(concerned).collect();
        for after in [0, 1, 40, 41, 42, 100, 1_000] {
            let rest: Vec<_> = expected.iter().filter(|event| event.position.0 > after).cloned().collect();
            for limit in [3, 1_000] {
                let found = store.events(Position(after), Scope::Partner(partner), limit).await.unwrap();
                assert_eq!(found, rest[..limit.min(rest.len())], "{partner} after {after}");
            }
        }
    }
}

async fn one_transaction_may_bring_in_and_out_and_in_again(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = begin(&store, &[&ann]).await;
    let (ann, ben) = (ann.partner.id, ben.partner.id);
    // Positions 2 to 9: each event has as recipients only the members at its position.
    write(&store, async |tx| {
        happen(tx, room);
        join(tx, room, ben).await;
        happen(tx, room);
        leave(tx, room, ben).await;
        happen(tx, room);
        join(tx, room, ben).await;
        leave(tx, room, ann).await;
    })
    .await;
    let positions = async |partner| {
        let events = store.events(Position(0), Scope::Partner(partner), 100).await.unwrap();
        events.iter().map(|event| event.position.0).collect::<Vec<_>>()
    };
    assert_eq!(positions(ann).await, [1, 2, 3, 4, 5, 7, 8, 10], "but not of the other's own having left");
    assert_eq!(positions(ben).await, [3, 4, 6, 8, 9]);
    assert_eq!(members(&store, room, Position(0)).await, []);
    assert_eq!(members(&store, room, Position(5)).await, [ann]);
    assert_eq!(members(&store, room, Position(8)).await, [ann, ben]);
    assert_eq!(members(&store, room, Position(1_000)).await, [ben]);
}

async fn who_was_in_is_forgotten_with_what_happened(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = begin(&store, &[&ann, &ben, &cat]).await;
    let [ann, ben, cat] = [ann, ben, cat].map(|user| user.partner.id);
    write(&store, async |tx| leave(tx, room, ann).await).await;
    write(&store, async |tx| leave(tx, room, ben).await).await;
    write(&store, async |tx| {
        tx.record(Topic::Conversation(room), Fact::AttachmentDeleted { attachment: AttachmentId(1) }, at(1));
    })
    .await;
    assert_eq!(store.forget_memberships(100).await.unwrap(), 0, "all of it can still be told");
    assert_eq!(store.forget_events(at(1), 2).await.unwrap(), 2);
    assert_eq!(store.forget_memberships(100).await.unwrap(), 1, "of who left before the oldest event");
    assert_eq!(members(&store, room, Position(3)).await, [ben, cat]);
    assert_eq!(store.forget_events(at(2), 100).await.unwrap(), 4);
    assert_eq!(store.forget_memberships(0).await.unwrap(), 0);
    assert_eq!(store.forget_memberships(100).await.unwrap(), 1);
    assert_eq!(store.forget_memberships(100).await.unwrap(), 0);
    assert_eq!(members(&store, room, store.position().await.unwrap()).await, [cat], "who is in stays");
    write(&store, async |tx| join(tx, room, ann).await).await;
    assert_eq!(store.events(Position(0), Scope::Partner(ann), 100).await.unwrap().len(), 1);
}

//! Tests of support sessions and of devices.

use std::sync::Arc;

use storage::{
    ConversationId, ConversationKind, DeviceConnection, Heartbeat, MessageSide, NewConversation, NewMessage, NewUser, Role,
    Storage, SupportSession, SupportStatus, User, UserChange, UserId,
};

use crate::people::{at, conflict, hesitate, lock, new_conversation, new_message, new_user, post, read_up_to, say, users, write};

on_every_backend!(
    a_session_is_begun_joined_and_closed,
    a_session_needs_a_conversation_and_accounts,
    pings_are_of_the_sides_of_open_sessions,
    sessions_are_listed_newest_first,
    what_was_seen_stays_seen_since_then,
    unread_is_counted_where_one_began,
    silent_sessions_are_found_by_one_at_a_time,
    open_sessions_are_those_that_one_began,
    sessions_of_locked_conversations_are_read_together,
    a_session_is_given_back,
    joined_sessions_are_found_by_who_joined,
    a_session_taken_over_is_no_longer_joined,
    absent_joiners_are_found_by_one_at_a_time,
    whoever_is_seen_anywhere_is_not_absent,
    whoever_may_no_longer_answer_is_absent_at_once,
    a_messages_side_is_remembered,
    those_with_a_role_are_known,
    a_device_keeps_its_row,
    devices_that_are_over_are_forgotten,
    beyond_so_many_devices_the_longest_unused_are_forgotten,
);

async fn begin(store: &Arc<dyn Storage>, by: &User, seconds: i64) -> SupportSession {
    let new = NewConversation { kind: ConversationKind::Support, ..new_conversation(&[by]) };
    write(store, async |tx| {
        let conversation = tx.insert_conversation(new).await.unwrap();
        tx.insert_support_session(conversation.id, by.partner.id, at(seconds)).await.unwrap()
    })
    .await
}

async fn join(store: &Arc<dyn Storage>, id: ConversationId, by: &User, seconds: i64) -> SupportSession {
    write(store, async |tx| {
        let of = lock(tx, id).await.remove(0);
        tx.insert_participants(&of, &[by.partner.id], 0, at(seconds)).await.unwrap();
        tx.set_support_joiner(&of, Some(by.partner.id), at(seconds)).await.unwrap();
        tx.support_session_of(&of).await.unwrap().unwrap()
    })
    .await
}

async fn close(store: &Arc<dyn Storage>, id: ConversationId, seconds: i64) {
    write(store, async |tx| {
        let of = lock(tx, id).await.remove(0);
        tx.set_closed(&of, at(seconds)).await.unwrap();
    })
    .await;
}

async fn a_session_is_begun_joined_and_closed(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let begun = begin(&store, &ann, 1).await;
    let id = begun.conversation;
    let initiator = begun.initiator;
    assert_eq!((initiator.partner, initiator.user, initiator.pinged_at), (ann.partner.id, ann.id, at(1)));
    assert_eq!((begun.joiner, begun.closed_at, begun.status()), (None, None, SupportStatus::Waiting));
    assert_eq!(store.conversation(id).await.unwrap().unwrap().uuid, begun.uuid);
    assert_eq!(store.support_session(id).await.unwrap(), Some(begun));

    let joined = join(&store, id, &ben, 2).await;
    assert_eq!(joined.joiner.map(|side| (side.partner, side.user, side.pinged_at)), Some((ben.partner.id, ben.id, at(2))));
    assert_eq!((joined.initiator, joined.status()), (initiator, SupportStatus::Joined));
    close(&store, id, 3).await;
    let closed = store.support_session(id).await.unwrap().unwrap();
    assert_eq!(closed, SupportSession { closed_at: Some(at(3)), ..joined });
    assert_eq!(closed.status(), SupportStatus::Closed);
    assert_eq!(store.support_session(ConversationId(1_000)).await.unwrap(), None);
}

async fn a_session_needs_a_conversation_and_accounts(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let begun = begin(&store, &ann, 1).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_support_session(ConversationId(1_000), ann.partner.id, at(1)).await.is_err());
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.insert_support_session(begun.conversation, ann.partner.id, at(1)).await), "support_sessions_pkey");
    drop(tx);
    let plain = write(&store, async |tx| tx.insert_conversation(new_conversation(&[&ann])).await.unwrap().id).await;
    assert_eq!(store.support_session(plain).await.unwrap(), None);
    let marked = write(&store, async |tx| tx.mark_seen(&[(plain, ann.partner.id, 1)], at(1)).await.unwrap()).await;
    assert_eq!(marked, []);
}

async fn pings_are_of_the_sides_of_open_sessions(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let id = begin(&store, &ann, 1).await.conversation;
    let touch = async |user: &User, seconds| {
        let touched = store.touch_support_session(id, user.partner.id, at(seconds)).await.unwrap();
        assert!(touched.is_none() || touched == store.support_session(id).await.unwrap());
        touched.map(|session| (session.initiator.pinged_at, session.joiner.map(|joiner| joiner.pinged_at)))
    };
    assert_eq!(touch(&ben, 2).await, None);
    assert_eq!(touch(&ann, 3).await, Some((at(3), None)));
    join(&store, id, &ben, 4).await;
    assert_eq!(touch(&ben, 5).await, Some((at(3), Some(at(5)))));
    assert_eq!(touch(&ann, 2).await, Some((at(3), Some(at(5)))), "time does not go back");
    assert_eq!(touch(&cat, 6).await, None);
    close(&store, id, 7).await;
    assert_eq!(touch(&ann, 8).await, None);
    assert_eq!(store.touch_support_session(ConversationId(1_000), ann.partner.id, at(8)).await.unwrap(), None);
}

async fn sessions_are_listed_newest_first(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let mut ids = Vec::new();
    for seconds in 0..6 {
        ids.push(begin(&store, &ann, seconds).await.conversation);
    }
    for joined in [1, 2, 3] {
        join(&store, ids[joined], &ben, 9).await;
    }
    for closed in [3, 4] {
        close(&store, ids[closed], 10).await;
    }
    let list = async |status, offset, limit| {
        let found = store.support_sessions(status, offset, limit).await.unwrap();
        found.iter().map(|session| ids.iter().position(|id| *id == session.conversation).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 0, 10).await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(list(None, 1, 2).await, [4, 3]);
    assert_eq!(list(Some(SupportStatus::Waiting), 0, 10).await, [5, 0]);
    assert_eq!(list(Some(SupportStatus::Joined), 0, 10).await, [2, 1]);
    assert_eq!(list(Some(SupportStatus::Closed), 0, 10).await, [4, 3]);
    assert_eq!(list(Some(SupportStatus::Closed), 1, 10).await, [3]);
    assert!(list(Some(SupportStatus::Closed), u64::MAX, 10).await.is_empty());
}

async fn what_was_seen_stays_seen_since_then(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let id = begin(&store, &ann, 1).await.conversation;
    join(&store, id, &ben, 2).await;
    let mark = async |by: &User, seq, seconds| {
        write(&store, async |tx| tx.mark_seen(&[(id, by.partner.id, seq)], at(seconds)).await.unwrap()).await == [id]
    };
    let seen = async |seq, by: MessageSide| store.seen_at(id, &[(seq, by), (900, by)]).await.unwrap().get(&seq).copied();
    assert_eq!(seen(1, MessageSide::Initiator).await, None);
    assert!(!mark(&cat, 5, 9).await, "Cat is of neither side");
    assert!(mark(&ben, 2, 10).await);
    assert!(!mark(&ben, 2, 11).await && !mark(&ben, 1, 12).await, "that was seen before");
    assert!(mark(&ben, 4, 13).await);
    for (seq, expected) in [(1, Some(at(10))), (2, Some(at(10))), (3, Some(at(13))), (4, Some(at(13))), (5, None)] {
        assert_eq!(seen(seq, MessageSide::Initiator).await, expected, "{seq}");
        assert_eq!(seen(seq, MessageSide::Agent).await, None, "the other side has seen nothing");
    }
    assert!(mark(&ann, 1, 14).await);
    assert_eq!(seen(1, MessageSide::Agent).await, Some(at(14)));
    assert!(store.seen_at(ConversationId(1_000), &[(1, MessageSide::Agent)]).await.unwrap().is_empty());
    // Cat takes over. Messages that Ben has seen stay seen by this side.
    join(&store, id, &cat, 15).await;
    assert!(!mark(&ben, 6, 16).await && mark(&cat, 6, 17).await);
    assert_eq!(seen(2, MessageSide::Initiator).await, Some(at(10)));
    assert_eq!(seen(6, MessageSide::Initiator).await, Some(at(17)));
}

async fn unread_is_counted_where_one_began(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let own = begin(&store, &ann, 1).await.conversation;
    join(&store, own, &ben, 2).await;
    let others = begin(&store, &ben, 1).await.conversation;
    join(&store, others, &ann, 2).await;
    let plain = write(&store, async |tx| tx.insert_conversation(new_conversation(&[&ann, &ben])).await.unwrap().id).await;
    for id in [own, others, plain] {
        say(&store, id, &ben, "one").await;
        say(&store, id, &ben, "two").await;
        say(&store, id, &ann, "three").await;
    }
    assert_eq!(store.support_unread(ann.partner.id).await.unwrap(), 2);
    assert_eq!(store.support_unread(ben.partner.id).await.unwrap(), 1);
    read_up_to(&store, own, ann.partner.id, 1).await;
    assert_eq!(store.support_unread(ann.partner.id).await.unwrap(), 1);
}

async fn silent_sessions_are_found_by_one_at_a_time(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let mut ids = Vec::new();
    for seconds in [0, 1, 2, 3, 0] {
        ids.push(begin(&store, &ann, seconds).await.conversation);
    }
    join(&store, ids[1], &ben, 50).await;
    // Writing ends a side's silence; messages of the other side do not.
    for (id, by) in [(ids[4], &ann), (ids[1], &ben)] {
        post(&store, NewMessage { created_at: at(50), ..new_message(id, by, "here") }).await;
    }
    close(&store, ids[0], 5).await;
    let mut tx = store.begin().await.unwrap();
    let found: Vec<_> = tx.lock_silent_support(at(3), 10).await.unwrap().iter().map(|of| of.id).collect();
    assert_eq!(found, ids[1..3]);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    // This lock waits until the other transaction is rolled back.
    assert_eq!(tx.lock_conversations(&ids[1..3]).await.unwrap().len(), 2);
    assert_eq!(tx.lock_silent_support(at(10), 1).await.unwrap().len(), 1);
}

async fn open_sessions_are_those_that_one_began(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let mut ids = Vec::new();
    for seconds in 0..4 {
        let new = NewConversation { kind: ConversationKind::Support, created_at: at(seconds), ..new_conversation(&[&ann]) };
        let begun = write(&store, async |tx| {
            let conversation = tx.insert_conversation(new).await.unwrap();
            tx.insert_support_session(conversation.id, ann.partner.id, at(9)).await.unwrap()
        });
        ids.push(begun.await.conversation);
    }
    let others = begin(&store, &ben, 1).await.conversation;
    join(&store, others, &ann, 2).await;
    join(&store, ids[1], &ben, 2).await;
    close(&store, ids[2], 5).await;
    say(&store, ids[0], &ann, "one").await;
    say(&store, ids[0], &ann, "two").await;
    let open = async |by: &User, limit| {
        let mut tx = store.begin().await.unwrap();
        let open = tx.open_support_sessions(by.partner.id, limit).await.unwrap();
        for begun in &open {
            assert_eq!(Some(begun.session), store.support_session(begun.session.conversation).await.unwrap());
        }
        open.iter().map(|begun| (begun.session.conversation, begun.begun_at, begun.messages)).collect::<Vec<_>>()
    };
    assert_eq!(open(&ann, 10).await, [(ids[3], at(3), 0), (ids[1], at(1), 0), (ids[0], at(0), 2)]);
    assert_eq!(open(&ann, 2).await, [(ids[3], at(3), 0), (ids[1], at(1), 0)]);
    assert_eq!(open(&ben, 10).await.len(), 1);
}

async fn sessions_of_locked_conversations_are_read_together(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let (one, other) = (begin(&store, &ann, 1).await, begin(&store, &ben, 2).await);
    let joined = join(&store, other.conversation, &ann, 3).await;
    let plain = write(&store, async |tx| tx.insert_conversation(new_conversation(&[&ann])).await.unwrap().id).await;
    let mut tx = store.begin().await.unwrap();
    let locked = tx.lock_conversations(&[one.conversation, other.conversation, plain]).await.unwrap();
    let mut sessions = tx.support_sessions_of(&locked.iter().collect::<Vec<_>>()).await.unwrap();
    sessions.sort_unstable_by_key(|session| session.conversation);
    assert_eq!(sessions, [one, joined]);
    assert_eq!(tx.support_sessions_of(&[]).await.unwrap(), []);
}

async fn give_back(store: &Arc<dyn Storage>, id: ConversationId) -> SupportSession {
    write(store, async |tx| {
        let of = lock(tx, id).await.remove(0);
        tx.set_support_joiner(&of, None, at(9)).await.unwrap();
        tx.support_session_of(&of).await.unwrap().unwrap()
    })
    .await
}

async fn a_session_is_given_back(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let begun = begin(&store, &ann, 1).await;
    let id = begun.conversation;
    assert_eq!(give_back(&store, id).await, begun, "nobody had joined");
    join(&store, id, &ben, 2).await;
    assert_eq!(give_back(&store, id).await, begun);
    assert_eq!(store.support_session(id).await.unwrap(), Some(begun));
    assert_eq!(store.support_sessions(Some(SupportStatus::Waiting), 0, 9).await.unwrap(), [begun]);
    assert_eq!(store.touch_support_session(id, ben.partner.id, at(3)).await.unwrap(), None, "Ben is no side any more");
    let joined = join(&store, id, &cat, 4).await;
    assert_eq!(joined.joiner.map(|side| (side.partner, side.pinged_at)), Some((cat.partner.id, at(4))));
}

async fn joined_sessions_are_found_by_who_joined(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let mut ids = Vec::new();
    for seconds in 0..6 {
        ids.push(begin(&store, &ann, seconds).await.conversation);
    }
    for (session, by) in [(4, &ben), (1, &ben), (2, &cat), (3, &ben), (5, &ben)] {
        join(&store, ids[session], by, 9).await;
    }
    close(&store, ids[3], 10).await;
    give_back(&store, ids[5]).await;
    let joined = async |by: &User| {
        let mut tx = store.begin().await.unwrap();
        let joined = tx.lock_joined_support(by.partner.id).await.unwrap();
        joined.iter().map(|of| of.id).collect::<Vec<_>>()
    };
    assert_eq!(joined(&ben).await, [ids[1], ids[4]]);
    assert_eq!(joined(&cat).await, [ids[2]]);
    assert_eq!(joined(&ann).await, []);
}

/// Releasing a joined session never releases it for another partner who has joined it meanwhile.
async fn a_session_taken_over_is_no_longer_joined(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let id = begin(&store, &ann, 0).await.conversation;
    for round in 0..16 {
        join(&store, id, &ben, 1).await;
        let taking_over = async {
            let mut tx = store.begin().await.unwrap();
            let of = lock(&mut *tx, id).await.remove(0);
            tx.set_support_joiner(&of, Some(cat.partner.id), at(2)).await.unwrap();
            hesitate(&store, round).await;
            tx.commit().await.unwrap();
        };
        let looking = async {
            hesitate(&store, 2).await;
            let mut tx = store.begin().await.unwrap();
            for of in tx.lock_joined_support(ben.partner.id).await.unwrap() {
                let joiner = tx.support_session_of(&of).await.unwrap().unwrap().joiner.unwrap();
                assert_eq!(joiner.partner, ben.partner.id, "round {round}");
            }
        };
        tokio::join!(taking_over, looking);
    }
}

async fn absent_joiners_are_found_by_one_at_a_time(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(begin(&store, &ann, 0).await.conversation);
    }
    // Session 5 waits, and session 6 waits again.
    for (session, seconds) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 1), (6, 1)] {
        join(&store, ids[session], &ben, seconds).await;
    }
    give_back(&store, ids[6]).await;
    // Writing ends an absence; messages of the other side do not.
    for (id, by) in [(ids[4], &ben), (ids[1], &ann)] {
        post(&store, NewMessage { created_at: at(50), ..new_message(id, by, "here") }).await;
    }
    close(&store, ids[0], 5).await;
    let absent = async |seconds, limit| {
        let mut tx = store.begin().await.unwrap();
        let absent = tx.lock_absent_support(at(seconds), &[Role::User], limit).await.unwrap();
        // A commit waits until the locks are released. Otherwise the next call would skip the locked rows.
        tx.commit().await.unwrap();
        absent.iter().map(|of| of.id).collect::<Vec<_>>()
    };
    assert_eq!(absent(1, 10).await, []);
    assert_eq!(absent(3, 10).await, ids[1..3]);
    assert_eq!(absent(10, 2).await, ids[1..3]);
    assert_eq!(absent(10, 10).await, ids[1..4]);
    assert_eq!(absent(51, 10).await, ids[1..5]);
}

/// Support sessions whose joiners are absent at that time. `answering`: roles that may answer.
async fn absent(store: &Arc<dyn Storage>, before: i64, answering: &[Role]) -> Vec<ConversationId> {
    let mut tx = store.begin().await.unwrap();
    let absent = tx.lock_absent_support(at(before), answering, 10).await.unwrap();
    // A commit waits until the locks are released.
    tx.commit().await.unwrap();
    absent.iter().map(|of| of.id).collect()
}

async fn whoever_is_seen_anywhere_is_not_absent(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let (bens, cats) = (begin(&store, &ann, 0).await.conversation, begin(&store, &ann, 0).await.conversation);
    join(&store, bens, &ben, 1).await;
    join(&store, cats, &cat, 1).await;
    let sign = |seconds| Heartbeat { partner: ben.partner.id, last_seen: at(seconds), there_until: at(seconds), idle_from: None };
    assert_eq!(absent(&store, 5, &[Role::User]).await, [bens, cats]);
    store.record_heartbeats(&[sign(5)]).await.unwrap();
    assert_eq!(absent(&store, 5, &[Role::User]).await, [cats]);
    assert_eq!(absent(&store, 6, &[Role::User]).await, [bens, cats]);
    store.record_heartbeats(&[sign(8)]).await.unwrap();
    assert_eq!(absent(&store, 8, &[Role::User]).await, [cats]);
    store.touch_support_session(cats, cat.partner.id, at(8)).await.unwrap();
    assert_eq!(absent(&store, 8, &[Role::User]).await, []);
}

async fn whoever_may_no_longer_answer_is_absent_at_once(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let (bens, cats) = (begin(&store, &ann, 0).await.conversation, begin(&store, &ann, 0).await.conversation);
    begin(&store, &ann, 0).await;
    join(&store, bens, &ben, 1).await;
    join(&store, cats, &cat, 1).await;
    assert_eq!(absent(&store, 0, &[Role::Agent, Role::User]).await, []);
    assert_eq!(absent(&store, 0, &[Role::Agent, Role::Admin]).await, [bens, cats]);
    let change = UserChange { active: Some(false), ..UserChange::default() };
    write(&store, async |tx| tx.update_user(cat.id, change).await.unwrap()).await;
    assert_eq!(absent(&store, 0, &[Role::Agent, Role::User]).await, [cats]);
    close(&store, cats, 2).await;
    assert_eq!(absent(&store, 0, &[Role::Agent, Role::User]).await, []);
}

async fn a_messages_side_is_remembered(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let id = begin(&store, &ann, 0).await.conversation;
    join(&store, id, &ben, 1).await;
    for (by, support_side) in
        [(&ann, Some(MessageSide::Initiator)), (&ben, Some(MessageSide::Agent)), (&ann, Some(MessageSide::Agent)), (&ben, None)]
    {
        let message = post(&store, NewMessage { support_side, ..new_message(id, by, "here") }).await;
        assert_eq!(message.support_side, support_side);
        assert_eq!(store.messages_by_id(&[message.id]).await.unwrap(), [message]);
    }
}

async fn those_with_a_role_are_known(store: Arc<dyn Storage>) {
    let add = async |name: &str, role| {
        write(&store, async |tx| tx.insert_user(NewUser { role, ..new_user(name) }).await.unwrap()).await
    };
    add("ann", Role::User).await;
    let (ben, cat, dan) = (add("ben", Role::Agent).await, add("cat", Role::Admin).await, add("dan", Role::Agent).await);
    let with = async |roles: &[Role]| write(&store, async |tx| tx.partners_with_role(roles).await.unwrap()).await;
    assert_eq!(with(&[Role::Agent, Role::Admin]).await, [ben.partner.id, cat.partner.id, dan.partner.id]);
    let change = UserChange { active: Some(false), ..UserChange::default() };
    write(&store, async |tx| tx.update_user(dan.id, change).await.unwrap()).await;
    assert_eq!(with(&[Role::Agent]).await, [ben.partner.id]);
    assert_eq!(with(&[]).await, []);
}

async fn a_device_keeps_its_row(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let new = |user: &User, connection: &'static str, seconds| DeviceConnection {
        user: user.id,
        device: "phone",
        connection,
        at: at(seconds),
        expires_at: at(seconds + 100),
    };
    let connect = async |new| write(&store, async |tx| tx.connect_device(new).await.unwrap()).await;
    let first = connect(new(&ann, "one", 1)).await;
    assert_eq!((first.user, first.name.as_str(), first.connection.as_str()), (ann.id, "phone", "one"));
    assert_eq!((first.created_at, first.updated_at, first.expires_at), (at(1), at(1), at(101)));
    assert_ne!(connect(new(&ben, "two", 1)).await.id, first.id);
    store.touch_device(new(&ann, "one", 5)).await.unwrap();
    store.touch_device(new(&ann, "another", 6)).await.unwrap();
    let again = connect(new(&ann, "three", 7)).await;
    assert_eq!((again.id, again.created_at, again.connection.as_str()), (first.id, at(1), "three"));
    assert_eq!((again.updated_at, again.expires_at), (at(7), at(107)));
    let mut tx = store.begin().await.unwrap();
    let nobodys = DeviceConnection { user: UserId(1_000), ..new(&ann, "four", 8) };
    assert!(tx.connect_device(nobodys).await.is_err());
}

async fn devices_that_are_over_are_forgotten(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let connect = async |device: &str, seconds: i64| {
        let new = DeviceConnection { user: ann.id, device, connection: "c", at: at(seconds), expires_at: at(seconds + 10) };
        write(&store, async |tx| tx.connect_device(new).await.unwrap().id).await
    };
    let mut ids = Vec::new();
    for (device, seconds) in [("a", 0), ("b", 0), ("c", 0), ("d", 1)] {
        ids.push(connect(device, seconds).await);
    }
    let used = DeviceConnection { user: ann.id, device: "a", connection: "c", at: at(5), expires_at: at(15) };
    store.touch_device(used).await.unwrap();
    assert_eq!(store.forget_devices(at(10), 10).await.unwrap(), 0);
    for left in [1, 1, 0] {
        assert_eq!(store.forget_devices(at(11), 1).await.unwrap(), left);
    }
    assert_eq!([connect("a", 20).await, connect("d", 20).await], [ids[0], ids[3]], "those were not over");
    assert!(connect("b", 20).await > ids[3]);
}

async fn beyond_so_many_devices_the_longest_unused_are_forgotten(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let connect = async |user: &User, device: &str, seconds: i64| {
        let new = DeviceConnection { user: user.id, device, connection: "c", at: at(seconds), expires_at: at(seconds + 10) };
        write(&store, async |tx| tx.connect_device(new).await.unwrap().id).await
    };
    let mut ids = Vec::new();
    for (user, device, seconds) in [(&ann, "a", 1), (&ann, "b", 2), (&ann, "c", 3), (&ben, "a", 0)] {
        ids.push(connect(user, device, seconds).await);
    }
    let used = DeviceConnection { user: ann.id, device: "a", connection: "c", at: at(5), expires_at: at(15) };
    store.touch_device(used).await.unwrap();
    let beyond = async |most| write(&store, async |tx| tx.forget_devices_beyond(most, ann.id).await.unwrap()).await;
    assert_eq!([beyond(3).await, beyond(2).await], [0, 1]);
    let known = [connect(&ann, "a", 20).await, connect(&ann, "c", 20).await, connect(&ben, "a", 20).await];
    assert_eq!(known, [ids[0], ids[2], ids[3]], "those were used later, or are another's");
    assert!(connect(&ann, "b", 20).await > ids[3]);
}

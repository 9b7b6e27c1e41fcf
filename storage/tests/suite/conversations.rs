//! Tests of conversations: creation, participants, locks and the inbox.

use std::{collections::HashSet, sync::Arc};

use storage::{
    Conversation, ConversationId, ConversationKind, Document, Folder, GroupId, InboxFilter, ListSize, NewConversation,
    ParticipantRole, ParticipantStatus, PartnerId, Storage, ThreadType, User, WindowState,
};
use uuid::Uuid;

use crate::people::{at, conflict, conversation, lock, new_conversation, new_message, post, read_up_to, say, users, write};

on_every_backend!(
    a_conversation_comes_back_as_it_was_stored,
    explicit_ids_move_the_sequence,
    a_uuid_is_taken_once,
    participants_are_listed_by_joining,
    newcomers_have_read_what_is_there,
    a_conversation_is_seen_by_anybody,
    locks_come_by_rising_id,
    participating_tells_pairs_apart,
    a_kind_can_change,
    an_external_id_is_taken_once,
    a_direct_beginning_is_remembered,
    an_owner_is_named_at_the_beginning,
    the_inbox_shows_the_latest_first,
    a_list_has_a_size,
    the_inbox_is_filtered,
    contacts_are_all_with_whom_one_shares_a_conversation,
);

async fn a_conversation_comes_back_as_it_was_stored(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let document = |model: &str, id| Document { model: model.to_owned(), id };
    let new = NewConversation {
        uuid: Uuid::from_u128(5),
        kind: ConversationKind::Support,
        thread_type: ThreadType::Sms,
        name: "Ünï 안 🦀".to_owned(),
        created_at: at(9),
        group: Some(GroupId(3)),
        documents: vec![document("sale.order", 10), document("sale.order", 9), document("res.partner", 70)],
        ..new_conversation(&[&ann, &ben, &ann])
    };
    let stored = write(&store, async |tx| {
        tx.insert_group(Some(GroupId(3)), "News").await.unwrap();
        tx.insert_conversation(new).await.unwrap()
    })
    .await;
    let expected = Conversation {
        id: stored.id,
        uuid: Uuid::from_u128(5),
        kind: ConversationKind::Support,
        thread_type: ThreadType::Sms,
        name: "Ünï 안 🦀".to_owned(),
        created_at: at(9),
        group: Some(GroupId(3)),
        documents: vec![document("res.partner", 70), document("sale.order", 9), document("sale.order", 10)],
        last_seq: 0,
        last_message: None,
        last_message_at: None,
        closed_at: None,
        external_id: None,
        began_direct: false,
    };
    assert_eq!(stored, expected);
    assert_eq!(store.conversation(stored.id).await.unwrap(), Some(expected));
    assert_eq!(store.participant_ids(stored.id).await.unwrap(), [ann.partner.id, ben.partner.id]);
    assert_eq!(store.conversation(ConversationId(1_000)).await.unwrap(), None);
}

async fn explicit_ids_move_the_sequence(store: Arc<dyn Storage>) {
    let next = write(&store, async |tx| {
        for id in [20, 2] {
            let new = NewConversation { id: Some(ConversationId(id)), ..new_conversation(&[]) };
            assert_eq!(tx.insert_conversation(new).await.unwrap().id, ConversationId(id));
        }
        tx.insert_conversation(new_conversation(&[])).await.unwrap()
    })
    .await;
    assert!(next.id.0 > 20, "{}", next.id);
}

async fn a_uuid_is_taken_once(store: Arc<dyn Storage>) {
    let new = new_conversation(&[]);
    write(&store, async |tx| tx.insert_conversation(new.clone()).await.unwrap()).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.insert_conversation(new).await), "conversations_uuid");
}

async fn participants_are_listed_by_joining(store: Arc<dyn Storage>) {
    let [ann, ben, cat, dan] = users(&store, ["ann", "ben", "cat", "dan"]).await;
    let room = conversation(&store, &[&dan, &cat]).await;
    let other = conversation(&store, &[&ben]).await;
    write(&store, async |tx| {
        let to = lock(tx, room).await.remove(0);
        let late = tx.insert_participants(&to, &[ben.partner.id, cat.partner.id], 0, at(20)).await.unwrap();
        assert_eq!(late, [ben.partner.id]);
        assert_eq!(tx.insert_participants(&to, &[ann.partner.id], 0, at(10)).await.unwrap(), [ann.partner.id]);
        assert_eq!(tx.insert_participants(&to, &[ann.partner.id], 0, at(30)).await.unwrap(), []);
        assert_eq!(tx.participant_count(&to).await.unwrap(), 4);
    })
    .await;

    let participants = store.participants(room).await.unwrap();
    let people: Vec<_> = participants.iter().map(|participant| participant.person.clone()).collect();
    assert_eq!(people, [&cat, &dan, &ann, &ben].map(|user| user.person()));
    for participant in &participants {
        assert_eq!(participant.conversation, room);
        assert_eq!((participant.window, participant.folder), (WindowState::Open, Folder::Active));
    }
    assert_eq!(participants.iter().map(|p| p.joined_at).collect::<Vec<_>>(), [at(0), at(0), at(10), at(20)]);

    let rising = [&ann, &ben, &cat, &dan].map(|user| user.partner.id);
    assert_eq!(store.participant_ids(room).await.unwrap(), rising);
    let listed = async |first: &User, others| {
        store.people_in(&[other, room, ConversationId(1_000), room], first.partner.id, others).await.unwrap()
    };
    let both = listed(&ann, 100).await;
    let expected = [(room, &cat), (room, &dan), (room, &ann), (room, &ben), (other, &ben)];
    assert_eq!(both, expected.map(|(id, user)| (id, Arc::new(user.person()))));
    assert!(Arc::ptr_eq(&both[3].1, &both[4].1), "who is in both is read once");
    for (first, others, expected) in [
        (&ben, 2, vec![(room, &cat), (room, &dan), (room, &ben), (other, &ben)]),
        (&cat, 1, vec![(room, &cat), (room, &dan), (other, &ben)]),
        (&dan, 3, vec![(room, &cat), (room, &dan), (room, &ann), (room, &ben), (other, &ben)]),
        (&ann, 0, vec![(room, &ann)]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(id, user)| (id, Arc::new(user.person()))).collect();
        assert_eq!(listed(first, others).await, expected, "{} and {others}", first.partner.name);
    }

    let unknown = ConversationId(1_000);
    assert_eq!(store.participants(unknown).await.unwrap(), []);
    assert_eq!(store.participant_ids(unknown).await.unwrap(), []);

    write(&store, async |tx| {
        let of = lock(tx, room).await.remove(0);
        assert!(tx.delete_participant(&of, cat.partner.id).await.unwrap());
        assert_eq!(tx.insert_participants(&of, &[cat.partner.id], 0, at(40)).await.unwrap(), [cat.partner.id]);
    })
    .await;
    let people: Vec<_> = store.participants(room).await.unwrap().into_iter().map(|participant| participant.person).collect();
    assert_eq!(people, [&dan, &ann, &ben, &cat].map(|user| user.person()), "who comes back is the last");
}

async fn newcomers_have_read_what_is_there(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann]).await;
    say(&store, room, &ann, "before").await;
    // A message by a user who joins only afterwards.
    say(&store, room, &ben, "before").await;
    write(&store, async |tx| {
        let to = lock(tx, room).await.remove(0);
        tx.insert_participants(&to, &[ben.partner.id], 0, at(1)).await.unwrap();
    })
    .await;
    let seen = async || {
        let (_, participant) = store.conversation_seen_by(room, ben.partner.id).await.unwrap().unwrap();
        participant.map(|participant| (participant.read_seq, participant.unread)).unwrap()
    };
    assert_eq!(seen().await, (2, 0));
    say(&store, room, &ann, "after").await;
    assert_eq!(seen().await, (2, 1));
    assert_eq!(read_up_to(&store, room, ben.partner.id, 3).await, 1);
    assert_eq!(seen().await, (3, 0));
}

async fn a_conversation_is_seen_by_anybody(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann]).await;
    say(&store, room, &ben, "hello").await;
    let conversation = store.conversation(room).await.unwrap().unwrap();
    let (seen, participant) = store.conversation_seen_by(room, ann.partner.id).await.unwrap().unwrap();
    assert_eq!(seen, conversation);
    assert_eq!(Some(participant.unwrap()), store.participants(room).await.unwrap().pop());
    assert_eq!(store.conversation_seen_by(room, ben.partner.id).await.unwrap(), Some((conversation, None)));
    assert_eq!(store.conversation_seen_by(ConversationId(1_000), ann.partner.id).await.unwrap(), None);
}

async fn locks_come_by_rising_id(store: Arc<dyn Storage>) {
    let [first, second] = [conversation(&store, &[]).await, conversation(&store, &[]).await];
    write(&store, async |tx| {
        let locked = tx.lock_conversations(&[second, ConversationId(1_000), first, second]).await.unwrap();
        assert_eq!(locked.iter().map(|conversation| conversation.id).collect::<Vec<_>>(), [first, second]);
        assert!(tx.lock_conversations(&[]).await.unwrap().is_empty());
    })
    .await;
}

async fn participating_tells_pairs_apart(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let [hers, his] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ben]).await];
    let (ann, ben) = (ann.partner.id, ben.partner.id);
    let pairs = [(hers, ann), (hers, ben), (his, ann), (his, ben), (ConversationId(1_000), ann), (his, PartnerId(1_000))];
    let found = write(&store, async |tx| tx.participant_statuses(&pairs).await.unwrap()).await;
    assert_eq!(found.into_keys().collect::<HashSet<_>>(), HashSet::from([(hers, ann), (his, ben)]));
}

async fn a_kind_can_change(store: Arc<dyn Storage>) {
    let [room, other] = [conversation(&store, &[]).await, conversation(&store, &[]).await];
    write(&store, async |tx| {
        let of = lock(tx, room).await.remove(0);
        tx.set_kind(&of, ConversationKind::Direct).await.unwrap();
    })
    .await;
    assert_eq!(store.conversation(room).await.unwrap().unwrap().kind, ConversationKind::Direct);
    assert_eq!(store.conversation(other).await.unwrap().unwrap().kind, ConversationKind::Group);
}

async fn an_external_id_is_taken_once(store: Arc<dyn Storage>) {
    let external = |id: &str| NewConversation { external_id: Some(id.to_owned()), ..new_conversation(&[]) };
    for id in ["7", "a", "A", "e\u{301}", "\u{e9}"] {
        let stored = write(&store, async |tx| tx.insert_conversation(external(id)).await.unwrap()).await;
        assert_eq!(stored.external_id.as_deref(), Some(id));
        assert_eq!(store.conversation(stored.id).await.unwrap(), Some(stored));
    }
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.insert_conversation(external("a")).await), "conversations_external_id");
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    tx.insert_conversation(external("new")).await.unwrap();
    drop(tx);
    write(&store, async |tx| tx.insert_conversation(external("new")).await.unwrap()).await;
}

async fn a_direct_beginning_is_remembered(store: Arc<dyn Storage>) {
    use ConversationKind::{Direct, Group, Support};

    for (kinds, expected) in [
        (vec![Direct], vec![true]),
        (vec![Direct, Group, Support, Group], vec![true, true, true, true]),
        (vec![Group, Support, Group], vec![false, false, false]),
        (vec![Group, Direct, Group], vec![false, true, true]),
    ] {
        let new = NewConversation { kind: kinds[0], ..new_conversation(&[]) };
        let stored = write(&store, async |tx| tx.insert_conversation(new).await.unwrap()).await;
        assert_eq!(stored.began_direct, expected[0]);
        for (kind, began_direct) in kinds.into_iter().zip(expected) {
            write(&store, async |tx| {
                let of = lock(tx, stored.id).await.remove(0);
                tx.set_kind(&of, kind).await.unwrap();
                assert_eq!(lock(tx, stored.id).await[0].began_direct, began_direct);
            })
            .await;
            let found = store.conversation(stored.id).await.unwrap();
            assert_eq!(found, Some(Conversation { kind, began_direct, ..stored.clone() }));
        }
    }
}

async fn an_owner_is_named_at_the_beginning(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let owned = NewConversation { owner: Some(ben.partner.id), ..new_conversation(&[&ann, &ben]) };
    let stranger = NewConversation { owner: Some(cat.partner.id), ..new_conversation(&[&ann, &ben]) };
    let [owned, ownerless, by_stranger] = write(&store, async |tx| {
        let mut ids = Vec::new();
        for new in [owned, new_conversation(&[&ann, &ben]), stranger] {
            ids.push(tx.insert_conversation(new).await.unwrap().id);
        }
        ids.try_into().expect("three")
    })
    .await;
    let (owner, member) = (ParticipantRole::Owner, ParticipantRole::Member);
    for (id, roles) in [(owned, [member, owner]), (ownerless, [member, member]), (by_stranger, [member, member])] {
        let pairs = [&ann, &ben].map(|user| (id, user.partner.id));
        let standings = write(&store, async |tx| tx.participant_statuses(&pairs).await.unwrap()).await;
        let listed = store.participants(id).await.unwrap();
        for ((pair, participant), role) in pairs.iter().zip(listed).zip(roles) {
            let expected = ParticipantStatus { role, visible_from_seq: 0, muted_until: None };
            assert_eq!((participant.status, standings[pair]), (expected, expected));
            let (_, seen) = store.conversation_seen_by(id, pair.1).await.unwrap().unwrap();
            assert_eq!(seen, Some(participant));
        }
    }
}

async fn created(store: &Arc<dyn Storage>, seconds: i64, participants: &[&storage::User]) -> ConversationId {
    let new = NewConversation { created_at: at(seconds), ..new_conversation(participants) };
    write(store, async |tx| tx.insert_conversation(new).await.unwrap().id).await
}

async fn the_inbox_shows_the_latest_first(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let old = created(&store, 10, &[&ann, &ben]).await;
    let twin = created(&store, 30, &[&ann]).await;
    let other_twin = created(&store, 30, &[&ann]).await;
    let new = created(&store, 20, &[&ann, &ben]).await;
    created(&store, 1_000, &[&ben]).await;

    let order = async || {
        let inbox = store.inbox(ann.partner.id, InboxFilter::default()).await.unwrap();
        inbox.into_iter().map(|entry| entry.conversation.id).collect::<Vec<_>>()
    };
    assert_eq!(order().await, [other_twin, twin, new, old]);

    let message = |seconds, body| {
        let mut new = new_message(old, &ben, body);
        new.created_at = at(seconds);
        new
    };
    post(&store, message(40, "first")).await;
    assert_eq!(order().await, [old, other_twin, twin, new]);
    // A message may be older than its conversation. The newest message is the last one posted.
    let last = post(&store, message(25, "second")).await;
    assert_eq!(order().await, [other_twin, twin, old, new]);

    let inbox = store.inbox(ann.partner.id, InboxFilter::default()).await.unwrap();
    assert_eq!((inbox[2].unread, &inbox[2].last_message), (2, &Some(last)));
    assert_eq!((inbox[0].unread, &inbox[0].last_message), (0, &None));
    for entry in inbox {
        assert_eq!(store.conversation(entry.conversation.id).await.unwrap(), Some(entry.conversation));
    }
}

async fn a_list_has_a_size(store: Arc<dyn Storage>) {
    let [ann, ben, cat, dan] = users(&store, ["ann", "ben", "cat", "dan"]).await;
    let everybody = [&ann, &ben, &cat, &dan];
    let ids =
        [conversation(&store, &everybody).await, conversation(&store, &everybody).await, conversation(&store, &[&ann]).await];
    conversation(&store, &[&ben]).await;
    let size = async |of_each, conversations, people| {
        let size = store.list_size(ann.partner.id, of_each, ListSize { conversations, people }).await.unwrap();
        (size.conversations, size.people)
    };
    assert_eq!(size(100, 100, 100).await, (3, 9));
    assert_eq!(size(2, 100, 100).await, (3, 5));
    assert_eq!(size(100, 2, 7).await, (2, 7));
    let listed = async |limit| {
        let inbox = store.inbox(ann.partner.id, InboxFilter { limit, ..InboxFilter::default() }).await.unwrap();
        inbox.into_iter().map(|entry| entry.conversation.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(Some(2)).await, [ids[2], ids[1]], "the newest");
    assert_eq!(listed(None).await, [ids[2], ids[1], ids[0]]);
}

async fn the_inbox_is_filtered(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let mut rooms = Vec::new();
    for thread_type in [ThreadType::Chat, ThreadType::Group, ThreadType::Sms] {
        let new = NewConversation { thread_type, ..new_conversation(&[&ann, &ben]) };
        rooms.push(write(&store, async |tx| tx.insert_conversation(new).await.unwrap().id).await);
    }
    let [chat, group, sms] = rooms[..] else { unreachable!("three were made") };
    write(&store, async |tx| {
        let of = lock(tx, sms).await.remove(0);
        tx.set_kind(&of, ConversationKind::Direct).await.unwrap();
    })
    .await;
    let his = conversation(&store, &[&ben]).await;
    say(&store, chat, &ben, "to be read").await;
    say(&store, group, &ann, "her own").await;
    say(&store, his, &ben, "not for her").await;

    let listed = async |filter: InboxFilter<'_>| {
        let inbox = store.inbox(ann.partner.id, filter).await.unwrap();
        let mut ids: Vec<_> = inbox.into_iter().map(|entry| entry.conversation.id).collect();
        ids.sort();
        ids
    };
    let all = InboxFilter::default();
    assert_eq!(listed(all.clone()).await, [chat, group, sms]);
    assert_eq!(listed(InboxFilter { thread_type: Some(ThreadType::Sms), ..all }).await, [sms]);
    assert_eq!(listed(InboxFilter { unread: true, ..all }).await, [chat]);
    assert_eq!(listed(InboxFilter { kinds: &[ConversationKind::Group], ..all }).await, [chat, group]);
    assert_eq!(listed(InboxFilter { kinds: &[ConversationKind::Support, ConversationKind::Direct], ..all }).await, [sms]);
    let some = [sms, his, chat, sms, ConversationId(1_000)];
    let only = InboxFilter { only: Some(&some), ..all };
    assert_eq!(listed(only.clone()).await, [chat, sms]);
    assert_eq!(listed(InboxFilter { unread: true, ..only }).await, [chat]);
    assert_eq!(listed(InboxFilter { thread_type: Some(ThreadType::Group), ..only }).await, []);
    assert_eq!(listed(InboxFilter { only: Some(&[]), ..all }).await, []);
}

async fn contacts_are_all_with_whom_one_shares_a_conversation(store: Arc<dyn Storage>) {
    let [ann, ben, cat, dan] = users(&store, ["ann", "ben", "cat", "dan"]).await;
    write(&store, async |tx| {
        for participants in [vec![&ben, &ann], vec![&ann, &cat, &ben], vec![&dan]] {
            tx.insert_conversation(new_conversation(&participants)).await.unwrap();
        }
    })
    .await;
    let [ann, ben, cat, dan] = [ann, ben, cat, dan].map(|user| user.partner.id);
    let mut contacts = store.contacts(&[dan, cat, ann, ann, PartnerId(1_000)]).await.unwrap();
    contacts.sort_unstable();
    assert_eq!(contacts, [(ann, vec![ben, cat]), (cat, vec![ann, ben])], "Dan is alone");
    assert_eq!(store.contacts(&[]).await.unwrap(), []);
}

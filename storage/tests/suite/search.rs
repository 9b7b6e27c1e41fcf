//! Tests of message search.

use std::sync::Arc;

use storage::{ConversationId, MessageId, Page, PartnerId, SearchScan, SearchScanResult, SearchStart, Storage};

use crate::people::{Dice, at, conversation, lock, read_up_to, say, users, write};

on_every_backend!(
    a_text_is_found_whatever_the_case,
    a_message_is_found_by_how_it_reads_now,
    a_walk_goes_on_where_another_ended,
    matches_end_at_a_number_or_at_a_size,
    matches_are_given_as_their_reader_sees_them,
    what_is_hidden_is_not_found,
    each_conversation_has_its_newest_message,
    walks_find_what_pages_hold,
);

/// A search without limits for messages that contain `query`.
fn everything(query: &str) -> SearchScan<'_> {
    SearchScan { messages: 1_000, query, limit: 1_000, bytes: 1_000_000 }
}

/// The newest message of a conversation, visible or not.
async fn newest(store: &Arc<dyn Storage>, of: ConversationId) -> SearchStart {
    let conversation = store.conversation(of).await.unwrap().unwrap();
    SearchStart { message: conversation.last_message.unwrap(), conversation: of, seq: conversation.last_seq }
}

/// Searches from the newest message of a conversation.
async fn walk(store: &Arc<dyn Storage>, of: ConversationId, reader: PartnerId, walk: SearchScan<'_>) -> SearchScanResult {
    store.search_messages(newest(store, of).await, reader, walk).await.unwrap()
}

fn bodies(walked: &SearchScanResult) -> Vec<&str> {
    walked.matches.iter().map(|seen| seen.message.body.as_str()).collect()
}

async fn a_text_is_found_whatever_the_case(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let texts = ["A Needle in hay", "hay", "ÜBER-GRÖSSE", "ΟΔΟΣ 5", "İstanbul", "100% _sure_", "back\\slash"];
    for text in texts {
        say(&store, room, &ann, text).await;
    }
    let found = async |query| {
        let walked = walk(&store, room, ann.partner.id, everything(query)).await;
        assert_eq!((walked.messages, walked.next), (texts.len(), None), "{query}");
        bodies(&walked).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("nEEdle", &["A Needle in hay"][..]),
        ("HAY", &["hay", "A Needle in hay"]),
        ("über-gröss", &["ÜBER-GRÖSSE"]),
        ("οδοσ", &["ΟΔΟΣ 5"]),
        ("ΟΔΟΣ", &["ΟΔΟΣ 5"]),
        ("istanbul", &["İstanbul"]),
        // The characters of LIKE and of regular expressions have no special meaning.
        ("% _s", &["100% _sure_"]),
        ("____", &[]),
        ("K\\S", &["back\\slash"]),
        ("needles", &[]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
}

async fn a_message_is_found_by_how_it_reads_now(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let edited = say(&store, room, &ann, "a needle").await;
    let deleted = say(&store, room, &ann, "another needle").await;
    write(&store, async |tx| {
        let of = lock(tx, room).await.remove(0);
        tx.edit_message(&of, edited.id, "a thread", ann.partner.id, at(1)).await.unwrap();
        tx.delete_message(&of, deleted.id, ann.partner.id, at(1)).await.unwrap();
    })
    .await;
    assert_eq!(walk(&store, room, ann.partner.id, everything("needle")).await.matches, []);
    assert_eq!(bodies(&walk(&store, room, ann.partner.id, everything("thread")).await), ["a thread"]);
}

async fn a_walk_goes_on_where_another_ended(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    let mut ids = Vec::new();
    for number in 0..7 {
        say(&store, other, &ann, "a number elsewhere").await;
        ids.push(say(&store, room, &ann, &format!("number {number}")).await.id);
    }
    let mut next = Some(newest(&store, room).await);
    let mut stretches = Vec::new();
    while let Some(from) = next {
        let three = SearchScan { messages: 3, ..everything("number") };
        let walked = store.search_messages(from, ann.partner.id, three).await.unwrap();
        stretches.push((walked.messages, walked.next, bodies(&walked).join(", ")));
        next = walked.next;
    }
    let point = |seq: i64| {
        let index = usize::try_from(seq - 1).unwrap();
        Some(SearchStart { message: ids[index], conversation: room, seq })
    };
    let expected = [
        (3, point(4), "number 6, number 5, number 4".to_owned()),
        (3, point(1), "number 3, number 2, number 1".to_owned()),
        (1, None, "number 0".to_owned()),
    ];
    assert_eq!(stretches, expected);
    let nowhere = SearchStart { conversation: ConversationId(1_000), ..newest(&store, room).await };
    assert_eq!(store.search_messages(nowhere, ann.partner.id, everything("number")).await.unwrap(), SearchScanResult::default());
}

async fn matches_end_at_a_number_or_at_a_size(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    for body in ["a needle", "needle", "häy", "needle!"] {
        say(&store, room, &ann, body).await;
    }
    for (limit, bytes, expected) in [
        (2, 1_000, &["needle!", "needle"][..]),
        (0, 1_000, &[]),
        // The match that reaches the size is the last.
        (9, 1, &["needle!"]),
        (9, 7, &["needle!"]),
        (9, 8, &["needle!", "needle"]),
        (9, 13, &["needle!", "needle"]),
        (9, 14, &["needle!", "needle", "a needle"]),
    ] {
        let walked = walk(&store, room, ann.partner.id, SearchScan { limit, bytes, ..everything("needle") }).await;
        assert_eq!(bodies(&walked), expected, "{limit} in {bytes} bytes");
        assert_eq!((walked.messages, walked.next), (4, None), "it looks at the whole stretch");
    }
}

async fn matches_are_given_as_their_reader_sees_them(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let first = say(&store, room, &ann, "first word").await;
    say(&store, room, &ann, "second word").await;
    read_up_to(&store, room, ben.partner.id, 1).await;
    write(&store, async |tx| {
        let of = lock(tx, room).await.remove(0);
        tx.insert_reaction(&of, first.id, ben.partner.id, "👍", at(1)).await.unwrap();
    })
    .await;
    for reader in [&ann, &ben] {
        let walked = walk(&store, room, reader.partner.id, everything("word")).await;
        let page = Page::Newest { offset: 0, limit: 10 };
        assert_eq!(walked.matches, store.messages(room, reader.partner.id, page).await.unwrap());
        assert_eq!(walked.matches[1].reactions[0].by_reader, reader.id == ben.id);
        assert_eq!([walked.matches[0].is_read, walked.matches[1].is_read], [false, true]);
    }
}

async fn what_is_hidden_is_not_found(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = conversation(&store, &[&ann]).await;
    for number in 1..=3 {
        say(&store, room, &ann, &format!("number {number}")).await;
    }
    write(&store, async |tx| {
        let of = lock(tx, room).await.remove(0);
        tx.insert_participants(&of, &[ben.partner.id], 3, at(1)).await.unwrap();
    })
    .await;
    let starts = async |before| {
        let all = store.newest_messages(ben.partner.id, None, before).await.unwrap();
        assert_eq!(store.newest_messages(ben.partner.id, Some(room), before).await.unwrap(), all);
        all
    };
    assert_eq!(walk(&store, room, ben.partner.id, everything("number")).await, SearchScanResult::default());
    assert_eq!(starts(None).await, []);
    let fourth = say(&store, room, &ann, "number 4").await.id;
    let walked = walk(&store, room, ben.partner.id, everything("number")).await;
    assert_eq!((bodies(&walked), walked.messages, walked.next), (vec!["number 4"], 1, None));
    assert_eq!(starts(None).await, [SearchStart { message: fourth, conversation: room, seq: 4 }]);
    assert_eq!(starts(Some(fourth)).await, []);
    assert_eq!(walk(&store, room, ann.partner.id, everything("number")).await.messages, 4);
    // Partners who are no participants, or have left.
    assert_eq!(walk(&store, room, cat.partner.id, everything("number")).await, SearchScanResult::default());
    assert_eq!(store.newest_messages(cat.partner.id, Some(room), None).await.unwrap(), []);
    write(&store, async |tx| {
        let of = lock(tx, room).await.remove(0);
        tx.delete_participant(&of, ben.partner.id).await.unwrap();
    })
    .await;
    assert_eq!(walk(&store, room, ben.partner.id, everything("number")).await, SearchScanResult::default());
    assert_eq!(starts(None).await, []);
}

async fn each_conversation_has_its_newest_message(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let [one, two] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann, &ben]).await];
    let empty = conversation(&store, &[&ann]).await;
    let starts = async |partner, only, before| {
        let mut starts = store.newest_messages(partner, only, before).await.unwrap();
        starts.sort_unstable();
        starts
    };
    let ann = ann.partner.id;
    assert_eq!(starts(ann, None, None).await, []);
    let mut points = Vec::new();
    for (conversation, seq) in [(one, 1), (two, 1), (one, 2)] {
        let message = say(&store, conversation, &ben, "a word").await.id;
        points.push(SearchStart { message, conversation, seq });
    }
    let [first, second, third] = points[..] else { panic!("three messages") };
    assert_eq!(starts(ann, None, None).await, [second, third]);
    assert_eq!(starts(ann, None, Some(third.message)).await, [first, second]);
    assert_eq!(starts(ann, None, Some(second.message)).await, [first]);
    assert_eq!(starts(ann, None, Some(first.message)).await, []);
    assert_eq!(starts(ann, None, Some(MessageId(i64::MIN))).await, []);
    assert_eq!(starts(ann, Some(one), None).await, [third]);
    assert_eq!(starts(ann, Some(one), Some(third.message)).await, [first]);
    assert_eq!(starts(ann, Some(empty), None).await, []);
    assert_eq!(starts(ann, Some(ConversationId(1_000)), None).await, []);
    assert_eq!(starts(ben.partner.id, None, None).await, [second]);
    assert_eq!(starts(ben.partner.id, Some(one), None).await, []);
}

async fn walks_find_what_pages_hold(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let rooms = [conversation(&store, &[&ann, &ben]).await, conversation(&store, &[&ann, &ben]).await];
    let mut dice = Dice::new(1);
    let words = ["red", "Green", "blue", "GREEN", "grey"];
    for _ in 0..60 {
        let by = [&ann, &ben][dice.roll(2)];
        let body = format!("{} {}", words[dice.roll(5)], words[dice.roll(5)]);
        say(&store, rooms[dice.roll(2)], by, &body).await;
    }
    for room in rooms {
        let page = Page::Newest { offset: 0, limit: 100 };
        let mut expected = store.messages(room, ben.partner.id, page).await.unwrap();
        expected.retain(|seen| seen.message.body.to_lowercase().contains("green"));
        assert!(expected.len() > 5, "the dice gave too few");
        let (mut found, mut next) = (Vec::new(), Some(newest(&store, room).await));
        while let Some(from) = next {
            let stretch = SearchScan { messages: 1 + dice.roll(7), ..everything("gReeN") };
            let walked = store.search_messages(from, ben.partner.id, stretch).await.unwrap();
            found.extend(walked.matches);
            next = walked.next;
        }
        assert_eq!(found, expected);
    }
}

//! Rows read by searches of messages and of people.

use storage::{ConversationId, MessageId, PartnerId, Search, SearchScan, SearchStart, Users, postgres::Postgres};

use crate::Explained;

/// Tests that a search reads its part of the conversation and the rows of its result, whatever the conversation's
/// length.
pub(crate) async fn of_messages(on: &Explained) {
    let (conversation, reader) = (ConversationId(1), PartnerId(2));
    for before in [None, Some(MessageId(105_000)), Some(MessageId(50_001)), Some(MessageId(301))] {
        let newest = async |s: &Postgres| s.newest_messages(reader, Some(conversation), before).await;
        let newest = on.within(2, "newest_messages of one", newest).await;
        let seq = before.map_or(100_000, |before| (before.0 - 1).min(100_000));
        let from = SearchStart { message: MessageId(seq), conversation, seq };
        assert_eq!(newest, [from]);
        for (query, found) in [("nowhere", 0), ("hello", 20)] {
            let walk = SearchScan { messages: 250, query, limit: 20, bytes: 1_000_000 };
            let walked = async |s: &Postgres| s.search_messages(from, reader, walk).await;
            let walked = on.within(250 + 7 * found + 10, "search_messages", walked).await;
            assert_eq!((walked.messages, walked.matches.len()), (250, found as usize), "{query} from {seq}");
            assert!(walked.next.is_some());
        }
    }
    for before in [None, Some(MessageId(105_001))] {
        let newest = async |s: &Postgres| s.newest_messages(PartnerId(3), None, before).await;
        let newest = on.within(2 * 10_000, "newest_messages", newest).await;
        assert_eq!(newest.len(), if before.is_some() { 5_000 } else { 10_000 });
    }
}

/// Rare names are found by the trigram index, frequent ones in the order of names.
pub(crate) async fn of_people(on: &Explained) {
    for (query, found) in [("nobody", 0), ("p599", 11), ("P5999", 1), ("p", 20)] {
        let people = async |s: &Postgres| s.search_people(query, 20).await;
        let people = on.within(100, "search_people", people).await;
        assert_eq!(people.len(), found, "{query}");
    }
}

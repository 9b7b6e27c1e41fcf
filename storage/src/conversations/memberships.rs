//! Membership intervals: the times of partners in conversations, as positions of the event log.

use std::collections::HashMap;

use crate::{ConversationId, Fact, PartnerId, Timestamp, Topic, import::ImportedMembers};

/// Initial participants of the conversations that one transaction creates.
pub(crate) type InitialParticipants = HashMap<ConversationId, Vec<PartnerId>>;

/// Membership interval: the change of one partner's membership in one conversation by a transaction. Both ends are indices, from
/// 0, of facts among those that the transaction records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MembershipInterval {
    pub conversation: ConversationId,
    pub partner: PartnerId,
    /// Start; `None`: the partner was a member before.
    pub from: Option<usize>,
    /// End; `None`: the partner stays a member.
    pub until: Option<usize>,
    pub visible_from_seq: i64,
}

/// Derives the membership changes from recorded facts. Imported members begin with the fact of the import.
pub(crate) fn membership_intervals(
    facts: &[(Topic, Fact, Timestamp)],
    founders: &InitialParticipants,
    imported: &ImportedMembers,
) -> Vec<MembershipInterval> {
    let mut stays: Vec<MembershipInterval> = Vec::new();
    let mut imported = imported.iter();
    for (place, (topic, fact, _)) in facts.iter().enumerate() {
        if let Fact::StoreChanged = fact {
            stays.extend(imported.by_ref().map(|(conversation, member)| MembershipInterval {
                conversation: *conversation,
                partner: member.partner,
                from: Some(place),
                until: None,
                visible_from_seq: member.visible_from_seq,
            }));
        }
        let Topic::Conversation(conversation) = *topic else { continue };
        let begins = |partner, visible_from_seq| MembershipInterval {
            conversation,
            partner,
            from: Some(place),
            until: None,
            visible_from_seq,
        };
        if let Fact::ConversationCreated(_) = fact {
            stays.extend(founders.get(&conversation).into_iter().flatten().map(|partner| begins(*partner, 0)));
        } else if let Fact::ParticipantJoined { partner, visible_from_seq } = *fact {
            stays.push(begins(partner, visible_from_seq));
        } else if let Fact::ParticipantLeft { partner, .. } = *fact {
            let is_this =
                |stay: &&mut MembershipInterval| (stay.conversation, stay.partner, stay.until) == (conversation, partner, None);
            match stays.iter_mut().find(is_this) {
                Some(stay) => stay.until = Some(place),
                None => {
                    stays.push(MembershipInterval { conversation, partner, from: None, until: Some(place), visible_from_seq: 0 })
                }
            }
        }
    }
    stays
}

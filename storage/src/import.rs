//! Import of rows of other systems, with ids, times and read positions of their own, in bulk and without events.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    Attachment, AttachmentId, Conversation, ConversationId, ConversationKind, Document, Error, Fact, Folder, GroupId, Locked,
    Member, Message, MessageId, MessageLocation, NO_CLIENT, NewAttachment, NewMessage, NewPartner, NewUser, ParticipantStatus,
    PartnerId, Result, ThreadType, Timestamp, Topic, UserId, WindowState,
};

/// User to be imported. Its uuid tells whether a stored user with the id is the same one. No login, password or external id
/// leaves the stored one.
#[derive(Clone, Debug)]
pub struct ImportedUser {
    /// A partner that is imported already gets the account if its id is given.
    pub user: NewUser,
    pub active: bool,
}

/// Group to be imported.
#[derive(Clone, Debug)]
pub struct ImportedGroup {
    pub id: Option<GroupId>,
    pub name: String,
    /// All members: others leave the group.
    pub members: Vec<UserId>,
}

/// Conversation to be imported. Its uuid tells whether a stored conversation with the id is the same one. No closing time or
/// external id leaves the stored one.
#[derive(Clone, Debug)]
pub struct ImportedConversation {
    pub id: Option<ConversationId>,
    pub uuid: Uuid,
    pub kind: ConversationKind,
    pub thread_type: ThreadType,
    pub name: String,
    pub created_at: Timestamp,
    pub group: Option<GroupId>,
    pub documents: Vec<Document>,
    pub closed_at: Option<Timestamp>,
    pub external_id: Option<String>,
    /// True also for a conversation that is not direct any more.
    pub began_direct: bool,
    /// Sides of a support session.
    pub support: Option<ImportedSupport>,
}

/// Sides of a support session to be imported, each with the time of its last request. Both must have accounts.
#[derive(Clone, Copy, Debug)]
pub struct ImportedSupport {
    pub initiator: (PartnerId, Timestamp),
    pub joiner: Option<(PartnerId, Timestamp)>,
}

/// Participant to be imported. A stored one keeps its time of joining and its `visible_from_seq`.
#[derive(Clone, Debug)]
pub struct ImportedParticipant {
    pub conversation: ConversationId,
    pub partner: PartnerId,
    pub joined_at: Timestamp,
    pub window: WindowState,
    pub folder: Folder,
    /// Read position: at most the newest message, and never back.
    pub read_seq: i64,
    pub status: ParticipantStatus,
}

/// Attachment to be imported; its bytes may be missing from the object store. A stored one stays as it is.
#[derive(Clone, Debug)]
pub struct ImportedAttachment {
    pub id: Option<AttachmentId>,
    pub file: NewAttachment,
}

/// Message to be imported. A stored one keeps its time, side and client key, and a deleted one stays deleted.
#[derive(Clone, Debug)]
pub struct ImportedMessage {
    pub id: Option<MessageId>,
    /// `None` for the next of the conversation.
    pub seq: Option<i64>,
    /// The author need not be a participant. The client key is not stored.
    pub message: NewMessage,
    /// Last edit. `None` leaves the stored one.
    pub edited: Option<Revision>,
    /// Deletion: of the message, a tombstone is stored.
    pub deleted: Option<Revision>,
    /// All reactions: others are removed.
    pub reactions: Vec<ImportedReaction>,
}

/// Edit or deletion of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    pub by: PartnerId,
    pub at: Timestamp,
}

/// Reaction to be imported with its message.
#[derive(Clone, Debug)]
pub struct ImportedReaction {
    pub partner: PartnerId,
    pub content: String,
    pub at: Timestamp,
}

/// Access to the import.
pub trait WriteImport {
    /// Returns the import into this transaction. The transaction records one [`Fact::StoreChanged`] with this time, which is told
    /// to no client and makes nodes drop their caches.
    fn import(&mut self, at: Timestamp) -> &mut dyn Import;
}

/// Import of rows of other systems. A row with the id of a stored one replaces it; a row without an id gets the next of its
/// sequence, which goes on above all given ids. Ids are positive, and no id is twice in a call. After each call the imported rows
/// are as if they had been sent: counters, read receipts and indexes follow by themselves. Participants receive the events that
/// come after the import and none from before. Copies of messages in the event log keep the names of their authors.
///
/// The order of the calls is that of the methods, with conversations locked once: people, groups, conversations, attachments,
/// messages, participants. At most 1,000 rows in a transaction: others wait for its locks, and SQLite's only writer for its end.
/// [`crate::WritePictures::set_picture`] and [`crate::WriteDirectory::set_key`] serve imports, too. A participant that has left
/// goes with [`crate::WriteConversations::delete_participant`] and its facts.
///
/// # Errors
/// Those of [`Tx`](crate::Tx), of which `Internal` for a row that refers to a missing one; and [`Error::Conflict`] where a method
/// names it.
///
/// # Cancel safety
/// That of [`Tx`](crate::Tx).
#[async_trait]
pub trait Import: Send {
    /// Imports partners without an account. Returns their ids, in order.
    async fn import_partners(&mut self, partners: &[NewPartner]) -> Result<Vec<PartnerId>>;
    /// Imports users with their partners. Returns both ids, in order.
    ///
    /// # Errors
    /// `Conflict("users_login")`, `Conflict("users_uuid")`, `Conflict("users_external_id")` if it is taken,
    /// `Conflict("users_pkey")` if the id is another user's, `Conflict("users_partner")` if the partner is.
    async fn import_users(&mut self, users: &[ImportedUser]) -> Result<Vec<(UserId, PartnerId)>>;
    /// Imports groups with their members. Returns their ids, in order.
    ///
    /// # Errors
    /// `Conflict("groups_name")` if the name is taken.
    async fn import_groups(&mut self, groups: &[ImportedGroup]) -> Result<Vec<GroupId>>;
    /// Imports conversations, without participants and messages. Returns their ids, in order.
    ///
    /// # Errors
    /// `Conflict("conversations_uuid")`, `Conflict("conversations_external_id")` if it is taken, `Conflict("conversations_pkey")`
    /// if the id is another conversation's.
    async fn import_conversations(&mut self, conversations: &[ImportedConversation]) -> Result<Vec<ConversationId>>;
    /// Imports attachments for messages of the same transaction. Returns them as stored, in order.
    ///
    /// # Errors
    /// `Conflict("attachments_object")` if another attachment has the object, `Conflict("attachments_pkey")` if the id is another
    /// object's.
    async fn import_attachments(&mut self, files: &[ImportedAttachment]) -> Result<Vec<Attachment>>;
    /// Imports messages, in any order, into conversations of `to`, which is consumed: lock again before the next call. The
    /// attachments must exist. Returns their locations, in order.
    ///
    /// # Errors
    /// `Conflict("messages_seq")` unless the new messages of a conversation continue its `seq` without a gap, with rising ids.
    /// `Conflict("messages_pkey")` if the id is another message's: of another conversation or author.
    /// `Conflict("messages_external_id")` if the external id is taken.
    async fn import_messages(
        &mut self,
        to: Vec<Locked<Conversation>>,
        messages: &[ImportedMessage],
    ) -> Result<Vec<MessageLocation>>;
    /// Imports participants of these conversations. Reads the messages after each read position, so call it after the last
    /// message of a conversation.
    async fn import_participants(&mut self, of: &[Locked<Conversation>], participants: &[ImportedParticipant]) -> Result<()>;
}

/// Records the change of the store, once in a transaction.
pub(crate) fn record_import(facts: &mut Vec<(Topic, Fact, Timestamp)>, at: Timestamp) {
    if !facts.iter().any(|(_, fact, _)| matches!(fact, Fact::StoreChanged)) {
        facts.push((Topic::Partner(NO_CLIENT), Fact::StoreChanged, at));
    }
}

/// New members of conversations by an import of one transaction.
pub(crate) type ImportedMembers = Vec<(ConversationId, Member)>;

/// Read position of a participant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadMarks {
    pub read_seq: i64,
    pub seen_seq: i64,
    pub visible_from_seq: i64,
}

impl ImportedParticipant {
    /// Read position in a conversation with this newest message. Hidden messages count as read, but not as seen.
    pub(crate) fn marks(&self, last_seq: i64, stored: Option<ReadMarks>) -> ReadMarks {
        let asked = self.read_seq.min(last_seq);
        let hidden = self.status.visible_from_seq.clamp(0, last_seq);
        let stored = stored.unwrap_or(ReadMarks { read_seq: hidden, seen_seq: 0, visible_from_seq: hidden });
        let seen_seq = if asked > stored.visible_from_seq { asked.max(stored.seen_seq) } else { stored.seen_seq };
        ReadMarks { read_seq: asked.max(stored.read_seq), seen_seq, visible_from_seq: stored.visible_from_seq }
    }
}

/// The `seq` of the newest message of a conversation that the caller has locked.
pub(crate) fn locked_last_seq(of: &[Locked<Conversation>], id: ConversationId) -> Result<i64> {
    let locked = of.iter().find(|locked| locked.id == id);
    locked.map(|locked| locked.last_seq).ok_or_else(|| Error::Internal(format!("conversation {id} is not locked").into()))
}

/// Partner of each user: the given one, or that of the stored user. `known` has the uuid and the partner of the stored users.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn partners_of_users(users: &[ImportedUser], known: &HashMap<i64, (Uuid, i64)>) -> Result<Vec<Option<i64>>> {
    let partner_of = |ImportedUser { user, .. }: &ImportedUser| {
        let given = user.partner.id.map(|id| id.0);
        let Some((uuid, partner)) = user.id.and_then(|id| known.get(&id.0)) else { return Ok(given) };
        if *uuid != user.uuid {
            return Err(Error::Conflict("users_pkey"));
        }
        match given {
            Some(given) if given != *partner => Err(Error::Conflict("users_partner")),
            _ => Ok(Some(*partner)),
        }
    };
    users.iter().map(partner_of).collect()
}

/// Refuses a conversation with the id of another one. `known` has the uuids of the stored conversations.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn expect_same_conversations(conversations: &[ImportedConversation], known: &HashMap<i64, Uuid>) -> Result<()> {
    let is_another = |row: &ImportedConversation| row.id.and_then(|id| known.get(&id.0)).is_some_and(|uuid| *uuid != row.uuid);
    if conversations.iter().any(is_another) { Err(Error::Conflict("conversations_pkey")) } else { Ok(()) }
}

/// Stored attachments in the order of their rows.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn imported_files(
    ids: &[AttachmentId],
    rows: &[ImportedAttachment],
    stored: Vec<Attachment>,
) -> Result<Vec<Attachment>> {
    let stored: HashMap<_, _> = stored.into_iter().map(|file| (file.id, file)).collect();
    let in_order = ids.iter().zip(rows).map(|(id, row)| {
        let file = stored.get(id).filter(|file| file.object == row.file.object);
        file.cloned().ok_or(Error::Conflict("attachments_pkey"))
    });
    in_order.collect()
}

/// Writes of one call of [`Import::import_messages`].
#[derive(Default)]
pub(crate) struct MessagePlan {
    /// New messages, by rising `seq` within each conversation.
    pub new: Vec<Message>,
    /// Stored messages with other content, before and after.
    pub changed: Vec<(Message, Message)>,
    /// Stored messages to be deleted.
    pub deleted: Vec<(ConversationId, MessageId, Revision)>,
    /// Messages whose reactions are replaced, with the index of their row.
    pub reacted: Vec<(MessageId, usize)>,
    /// In the order of the rows.
    pub locations: Vec<MessageLocation>,
}

impl MessagePlan {
    /// Compares rows with the stored messages of their ids. `drawn` has an id for each row without one.
    pub(crate) fn new(
        to: &[Locked<Conversation>],
        rows: &[ImportedMessage],
        stored: Vec<Message>,
        mut drawn: impl Iterator<Item = i64>,
    ) -> Result<Self> {
        let mut heads: HashMap<_, _> =
            to.iter().map(|locked| (locked.id, (locked.last_seq, locked.last_message.map_or(0, |id| id.0)))).collect();
        let mut stored: HashMap<_, _> = stored.into_iter().map(|message| (message.id, message)).collect();
        let mut in_order: Vec<_> = rows.iter().enumerate().collect();
        in_order.sort_by_key(|(_, row)| row.seq.unwrap_or(i64::MAX));
        let (mut plan, mut located, mut ids) = (Self::default(), Vec::with_capacity(rows.len()), HashSet::new());
        for (at, row) in in_order {
            let conversation = row.message.conversation;
            let (last_seq, last_id) = heads
                .get_mut(&conversation)
                .ok_or_else(|| Error::Internal(format!("conversation {conversation} is not locked").into()))?;
            let known = row.id.and_then(|id| stored.remove(&id));
            let message = match &known {
                Some(known) => row.replacing(known)?,
                None => {
                    let id = row.id.map(|id| id.0).or_else(|| drawn.next()).expect("an id is drawn for each row without one");
                    let seq = *last_seq + 1;
                    if row.seq.is_some_and(|given| given != seq) || id <= *last_id {
                        return Err(Error::Conflict("messages_seq"));
                    }
                    (*last_seq, *last_id) = (seq, id);
                    row.stored(MessageId(id), seq)
                }
            };
            if !ids.insert(message.id) {
                return Err(Error::Conflict("messages_pkey"));
            }
            let Message { id, seq, .. } = message;
            located.push((at, MessageLocation { conversation, seq, id, author: message.author.partner }));
            plan.add(at, row, known, message);
        }
        located.sort_unstable_by_key(|(at, _)| *at);
        plan.locations = located.into_iter().map(|(_, location)| location).collect();
        Ok(plan)
    }

    fn add(&mut self, at: usize, row: &ImportedMessage, known: Option<Message>, message: Message) {
        if let Some(known) = &known {
            if known.deleted_at.is_some() {
                return;
            }
            if let Some(deleted) = row.deleted {
                return self.deleted.push((known.conversation, known.id, deleted));
            }
        }
        if row.deleted.is_none() && (known.is_some() || !row.reactions.is_empty()) {
            self.reacted.push((message.id, at));
        }
        match known {
            None => self.new.push(message),
            Some(known) if known != message => self.changed.push((known, message)),
            Some(_) => {}
        }
    }

    /// All imported reactions to live messages.
    pub(crate) fn reactions<'a>(&self, rows: &'a [ImportedMessage]) -> impl Iterator<Item = (MessageId, &'a ImportedReaction)> {
        self.reacted.iter().flat_map(|(id, at)| rows[*at].reactions.iter().map(move |reaction| (*id, reaction)))
    }
}

impl ImportedMessage {
    /// The message as stored.
    fn stored(&self, id: MessageId, seq: i64) -> Message {
        let mut message = self.message.clone().stored(id, seq);
        message.client_key = None;
        (message.edited_at, message.edited_by) = (self.edited.map(|edited| edited.at), self.edited.map(|edited| edited.by));
        if let Some(deleted) = self.deleted {
            message.body.clear();
            message.attachments.clear();
            message.metadata = None;
            (message.deleted_at, message.deleted_by) = (Some(deleted.at), Some(deleted.by));
        }
        message
    }

    /// The message that replaces a stored one.
    fn replacing(&self, stored: &Message) -> Result<Message> {
        let NewMessage { conversation, message_type, body, metadata, attachments, external_id, reply_to, .. } = &self.message;
        if (*conversation, self.message.author.partner) != (stored.conversation, stored.author.partner) {
            return Err(Error::Conflict("messages_pkey"));
        }
        if self.seq.is_some_and(|seq| seq != stored.seq) {
            return Err(Error::Conflict("messages_seq"));
        }
        Ok(Message {
            message_type: *message_type,
            body: body.clone(),
            metadata: metadata.clone(),
            attachments: attachments.clone(),
            external_id: external_id.clone().or_else(|| stored.external_id.clone()),
            reply_to: *reply_to,
            edited_at: self.edited.map(|edited| edited.at).or(stored.edited_at),
            edited_by: self.edited.map(|edited| edited.by).or(stored.edited_by),
            ..stored.clone()
        })
    }
}

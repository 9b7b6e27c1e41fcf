//! Model of the deletion test: messages, deletions, memberships, and the texts that each user may or must not see.

/// Indices of the users: two authors, a third who joins and leaves, and the tenant and the agent of a support session.
pub const PEOPLE: usize = 5;
pub const ONE: usize = 0;
pub const OTHER: usize = 1;
pub const THIRD: usize = 2;
pub const TENANT: usize = 3;
pub const AGENT: usize = 4;

/// Indices of the conversations.
pub const DIRECT: usize = 0;
pub const GROUP: usize = 1;
/// The two authors' conversation without a document, the one that `room` shows for them.
pub const MEETING: usize = 2;
pub const SUPPORT: usize = 3;
pub const PLACES: usize = 4;

/// An action. Its numbers select among the existing objects.
#[derive(Clone, Debug)]
pub enum Action {
    Post {
        place: u8,
        who: u8,
        with: With,
    },
    Edit(u8),
    /// `at_desk`: over `concierge`, where possible.
    Delete {
        which: u8,
        at_desk: bool,
    },
    EraseFile(u8),
    /// The third user joins.
    Join {
        group: bool,
    },
    Leave {
        group: bool,
    },
}

/// Content of a message beside its text.
#[derive(Clone, Debug)]
pub enum With {
    /// Only a text, sent in the dialect with this number.
    Nothing(u8),
    File,
    /// A file that its author has sent before.
    SameFile(u8),
    /// A file uploaded in `room`. True if its sender shows it at once; otherwise the message waits until the sender
    /// disconnects.
    RoomFile(bool),
    /// The address of a new upload.
    Upload,
    /// The address of an earlier upload, by anybody.
    Quote(u8),
}

/// A message.
#[derive(Clone, Debug)]
pub struct Said {
    pub id: i64,
    pub place: usize,
    pub author: usize,
    pub text: String,
    /// A text in the metadata. An edit does not change it.
    pub note: Option<String>,
    /// Texts before each edit.
    pub past: Vec<String>,
    pub files: Vec<usize>,
    pub upload: Option<usize>,
    pub is_deleted: bool,
    /// Number of the third user's stay at the time of the message, if any.
    pub third_stay: Option<usize>,
    /// True if the third user could ever read it.
    pub third_could: bool,
}

/// An attachment.
#[derive(Clone, Debug)]
pub struct File {
    pub id: i64,
    pub name: String,
    pub content: String,
    pub owner: usize,
    pub is_erased: bool,
    /// Signed address for each user, where one was given.
    pub addresses: [Option<String>; PEOPLE],
}

/// An upload, named in messages by its address.
#[derive(Clone, Debug)]
pub struct Upload {
    pub url: String,
    pub content: String,
    pub owner: usize,
    pub was_named: bool,
}

/// State of one sequence.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub said: Vec<Said>,
    pub files: Vec<File>,
    pub uploads: Vec<Upload>,
    /// Stays of the third user in the first two conversations so far, and current membership.
    pub stays: [usize; 2],
    pub is_there: [bool; 2],
}

impl Model {
    pub fn is_in(&self, who: usize, place: usize) -> bool {
        match place {
            SUPPORT => who == TENANT || who == AGENT,
            _ if who == THIRD => place < 2 && self.is_there[place],
            _ => who == ONE || who == OTHER,
        }
    }

    pub fn members(&self, place: usize) -> Vec<usize> {
        (0..PEOPLE).filter(|who| self.is_in(*who, place)).collect()
    }

    pub fn posts(&mut self, id: i64, place: usize, author: usize, text: String) -> &mut Said {
        let third = self.is_in(THIRD, place);
        self.said.push(Said {
            id,
            place,
            author,
            text,
            note: None,
            past: Vec::new(),
            files: Vec::new(),
            upload: None,
            is_deleted: false,
            third_stay: third.then(|| self.stays[place]),
            third_could: third,
        });
        self.said.last_mut().expect("it was pushed")
    }

    pub fn joins(&mut self, place: usize) {
        self.stays[place] += 1;
        self.is_there[place] = true;
        if place == GROUP {
            self.said.iter_mut().filter(|said| said.place == GROUP).for_each(|said| said.third_could = true);
        }
    }

    /// True if the user finds the message in the history.
    pub fn reads(&self, who: usize, said: &Said) -> bool {
        let hidden = who == THIRD && said.place == DIRECT && said.third_stay != Some(self.stays[DIRECT]);
        self.is_in(who, said.place) && !hidden && !said.is_deleted
    }

    /// True if the user may have received the message at any time before its deletion.
    fn could_know(&self, who: usize, said: &Said) -> bool {
        if who == THIRD { said.third_could } else { self.is_in(who, said.place) }
    }

    fn holders(&self, file: usize) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(move |said| said.files.contains(&file))
    }

    pub fn is_held(&self, file: usize) -> bool {
        !self.files[file].is_erased && self.holders(file).any(|said| !said.is_deleted)
    }

    /// Agents, that is the admin and the agent, read the files of all support sessions.
    pub fn reads_file(&self, who: usize, file: usize) -> bool {
        let answers = |said: &Said| (who == ONE || who == AGENT) && said.place == SUPPORT && !said.is_deleted;
        !self.files[file].is_erased && self.holders(file).any(|said| self.reads(who, said) || answers(said))
    }

    /// Only its owner's messages keep an upload, and it is deleted with the last of them.
    pub fn is_kept(&self, upload: usize) -> bool {
        let owner = self.uploads[upload].owner;
        let names = |said: &Said| said.upload == Some(upload) && said.author == owner && !said.is_deleted;
        !self.uploads[upload].was_named || self.said.iter().any(names)
    }

    /// Texts and contents that must not be found anywhere.
    pub fn taken_back(&self) -> Vec<&str> {
        let mut gone: Vec<&str> = Vec::new();
        for said in &self.said {
            gone.extend(said.past.iter().map(String::as_str));
            if said.is_deleted {
                gone.extend([Some(&said.text), said.note.as_ref()].into_iter().flatten().map(String::as_str));
            }
        }
        for (number, file) in self.files.iter().enumerate() {
            if !self.is_held(number) {
                gone.extend([file.name.as_str(), file.content.as_str()]);
            }
        }
        for (number, upload) in self.uploads.iter().enumerate() {
            gone.extend((!self.is_kept(number)).then_some(upload.content.as_str()));
        }
        gone
    }

    /// Texts and names that the user must not find.
    pub fn hidden_from(&self, who: usize) -> Vec<&str> {
        let mut hidden = self.taken_back();
        let others = self.said.iter().filter(|said| !self.could_know(who, said));
        hidden.extend(others.flat_map(|said| [Some(&said.text), said.note.as_ref()]).flatten().map(String::as_str));
        for (number, file) in self.files.iter().enumerate() {
            if !self.holders(number).any(|said| self.could_know(who, said)) {
                hidden.push(&file.name);
            }
        }
        hidden
    }

    /// Texts that the user must find in the history of a conversation.
    pub fn shown_to(&self, who: usize, place: usize) -> Vec<&str> {
        let read = self.said.iter().filter(|said| said.place == place && self.reads(who, said));
        read.map(|said| said.text.as_str()).collect()
    }
}

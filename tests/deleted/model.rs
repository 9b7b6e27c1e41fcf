//! What was said, what was taken back, and who may know of it.

/// Who talks, in this order: two, the third who comes and goes, and the two of a support session.
pub const PEOPLE: usize = 5;
pub const ONE: usize = 0;
pub const OTHER: usize = 1;
pub const THIRD: usize = 2;
pub const TENANT: usize = 3;
pub const AGENT: usize = 4;

/// Where they talk.
pub const DIRECT: usize = 0;
pub const GROUP: usize = 1;
/// The conversation of the two that is about nothing, which is what `room` calls theirs.
pub const MEETING: usize = 2;
pub const SUPPORT: usize = 3;
pub const PLACES: usize = 4;

/// A thing that somebody does. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub enum Action {
    Post {
        place: u8,
        who: u8,
        with: With,
    },
    Edit(u8),
    /// `at_desk`: in the words of the support chat, where that is possible.
    Delete {
        which: u8,
        at_desk: bool,
    },
    EraseFile(u8),
    /// The third comes.
    Join {
        group: bool,
    },
    Leave {
        group: bool,
    },
}

/// What a message brings along.
#[derive(Clone, Debug)]
pub enum With {
    /// A text alone, said in one of the dialects.
    Nothing(u8),
    File,
    /// One that its author has sent before.
    SameFile(u8),
    /// One that is uploaded in `room`, and shown at once or when its sender has gone.
    RoomFile(bool),
    /// The address of a file that was put for it.
    Upload,
    /// The address of somebody else's, or one's own, that was put before.
    Quote(u8),
}

/// A message.
#[derive(Clone, Debug)]
pub struct Said {
    pub id: i64,
    pub place: usize,
    pub author: usize,
    pub text: String,
    /// What is said beside it, which an edit does not change.
    pub note: Option<String>,
    /// What it said before.
    pub past: Vec<String>,
    pub files: Vec<usize>,
    pub upload: Option<usize>,
    pub is_deleted: bool,
    /// In which of its stays the third was there when it was said.
    pub third_stay: Option<usize>,
    /// Whether the third could ever read it.
    pub third_could: bool,
}

/// A file that messages hold.
#[derive(Clone, Debug)]
pub struct File {
    pub id: i64,
    pub name: String,
    pub content: String,
    pub owner: usize,
    pub is_erased: bool,
    /// The addresses that were given to each.
    pub addresses: [Option<String>; PEOPLE],
}

/// A file that was put to be named.
#[derive(Clone, Debug)]
pub struct Upload {
    pub url: String,
    pub content: String,
    pub owner: usize,
    pub was_named: bool,
}

/// One sequence.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub said: Vec<Said>,
    pub files: Vec<File>,
    pub uploads: Vec<Upload>,
    /// Of the third in the first two places: how often it has come, and whether it is there.
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

    /// Whether somebody finds a message in the history.
    pub fn reads(&self, who: usize, said: &Said) -> bool {
        let hidden = who == THIRD && said.place == DIRECT && said.third_stay != Some(self.stays[DIRECT]);
        self.is_in(who, said.place) && !hidden && !said.is_deleted
    }

    /// Whether somebody may have heard of a message at any time, as long as it was not taken back.
    fn could_know(&self, who: usize, said: &Said) -> bool {
        if who == THIRD { said.third_could } else { self.is_in(who, said.place) }
    }

    fn holders(&self, file: usize) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(move |said| said.files.contains(&file))
    }

    pub fn is_held(&self, file: usize) -> bool {
        !self.files[file].is_erased && self.holders(file).any(|said| !said.is_deleted)
    }

    /// Those who answer, the admin and the agent, read the files of sessions that they have not joined.
    pub fn reads_file(&self, who: usize, file: usize) -> bool {
        let answers = |said: &Said| (who == ONE || who == AGENT) && said.place == SUPPORT && !said.is_deleted;
        !self.files[file].is_erased && self.holders(file).any(|said| self.reads(who, said) || answers(said))
    }

    /// Only its owner's messages keep an upload, and it goes with the last of them.
    pub fn is_kept(&self, upload: usize) -> bool {
        let owner = self.uploads[upload].owner;
        let names = |said: &Said| said.upload == Some(upload) && said.author == owner && !said.is_deleted;
        !self.uploads[upload].was_named || self.said.iter().any(names)
    }

    /// What must be found nowhere.
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

    /// What somebody must not find.
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

    /// What somebody finds in the history of a place.
    pub fn shown_to(&self, who: usize, place: usize) -> Vec<&str> {
        let read = self.said.iter().filter(|said| said.place == place && self.reads(who, said));
        read.map(|said| said.text.as_str()).collect()
    }
}

//! What is larger than it may be never gets to the protocol's own reader, which would hold all of it until it is whole.

use std::{
    collections::VecDeque,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at a time.
const PIECE_BYTES: usize = 4_096;
/// The longest header of a frame.
const HEADER_BYTES: usize = 14;
/// How much of a text is remembered: all of a character but its last byte.
const TAIL_BYTES: usize = 3;

/// Looks through a client's frames as they come. In place of each message that is too large it hands on a short one, so that
/// the order among all messages stays, and remembers which ones these are. The bytes of large ones are thrown away as they
/// come.
///
/// It judges nothing else: what is against the protocol is handed on as it is.
pub(super) struct Sieve<S> {
    inner: S,
    /// The largest message that is handed on.
    most_bytes: u64,
    place: Place,
    /// The message that comes in parts, from its first part to its last.
    parts: Option<Parts>,
    /// How many messages were handed on.
    count: u64,
    /// Which of them are there for large ones: their numbers, rising from 0 on.
    replaced: VecDeque<u64>,
    /// What the reader had no room for.
    left_over: Vec<u8>,
}

/// Where in the client's words it is.
#[derive(Clone, Copy)]
enum Place {
    /// Before or in the header of a frame, of which this much has come.
    Header([u8; HEADER_BYTES], usize),
    /// In the bytes of a frame.
    Bytes { done: u64, all: u64, mask: [u8; 4], fate: Fate },
    /// Behind something that is against the protocol: from here on nothing means anything.
    Lost,
}

/// What becomes of the bytes of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    ThrownAway,
    HandedOn,
    /// Handed on, and more parts of the message may come.
    Remembered,
}

const BETWEEN: Place = Place::Header([0; HEADER_BYTES], 0);

/// What has come of a message.
#[derive(Clone, Copy)]
enum Parts {
    Fine {
        bytes: u64,
        /// How its text ends so far. Of what is binary it does not matter.
        tail: [u8; TAIL_BYTES],
    },
    TooLarge,
}

/// The header of a frame, once it is whole.
struct Header {
    is_final: bool,
    is_reserved: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    bytes: u64,
}

impl Header {
    /// `Err` says how many bytes are needed to tell more.
    fn parse(given: &[u8]) -> Result<Self, usize> {
        let [first, second, rest @ ..] = given else { return Err(2) };
        let (length, masks) = (second & 0x7f, second & 0x80 != 0);
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let whole = 2 + extended + if masks { 4 } else { 0 };
        if given.len() < whole {
            return Err(whole);
        }
        let (extended, mask) = rest.split_at(extended);
        let bytes = match extended {
            [] => length.into(),
            digits => digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)),
        };
        Ok(Self {
            is_final: first & 0x80 != 0,
            is_reserved: first & 0x70 != 0,
            opcode: first & 0x0f,
            mask: mask.first_chunk().copied(),
            bytes,
        })
    }
}

impl<S> Sieve<S> {
    pub(super) fn new(inner: S, most_bytes: usize) -> Self {
        Self {
            inner,
            most_bytes: most_bytes as u64,
            place: BETWEEN,
            parts: None,
            count: 0,
            replaced: VecDeque::new(),
            left_over: Vec::new(),
        }
    }

    /// Whether the message of this number is there for one that was too large. To be asked of each, in their order.
    pub(super) fn is_replaced(&mut self, number: u64) -> bool {
        self.replaced.pop_front_if(|replaced| *replaced == number).is_some()
    }

    /// Takes in a piece of what the client says, and gives what of it goes on, bit by bit.
    fn sift(&mut self, mut piece: &[u8], mut hand_on: impl FnMut(&[u8])) {
        while !piece.is_empty() {
            match &mut self.place {
                Place::Header(header, there) => {
                    let needed = Header::parse(&header[..*there]).err().unwrap_or(*there);
                    let (more, rest) = piece.split_at(piece.len().min(needed - *there));
                    header[*there..*there + more.len()].copy_from_slice(more);
                    *there += more.len();
                    piece = rest;
                    let (given, there) = (*header, *there);
                    if let Ok(header) = Header::parse(&given[..there]) {
                        self.decide(&header, &given[..there], &mut hand_on);
                    }
                }
                Place::Bytes { done, all, mask, fate } => {
                    let left = usize::try_from(*all - *done).unwrap_or(usize::MAX);
                    let (bytes, rest) = piece.split_at(piece.len().min(left));
                    piece = rest;
                    if *fate != Fate::ThrownAway {
                        hand_on(bytes);
                    }
                    if *fate == Fate::Remembered
                        && let Some(Parts::Fine { tail, .. }) = &mut self.parts
                    {
                        remember(tail, bytes, *mask, *done);
                    }
                    *done += bytes.len() as u64;
                    if *done == *all {
                        self.place = BETWEEN;
                    }
                }
                Place::Lost => {
                    hand_on(piece);
                    return;
                }
            }
        }
    }

    /// Decides what becomes of a frame.
    fn decide(&mut self, header: &Header, given: &[u8], hand_on: &mut impl FnMut(&[u8])) {
        let Header { is_final, is_reserved, opcode, mask: Some(mask), bytes } = *header else {
            return self.lose(given, hand_on);
        };
        let fits = match (opcode, self.parts) {
            _ if is_reserved => return self.lose(given, hand_on),
            (0x8..=0xa, _) if is_final && bytes <= 125 => true,
            (0x1 | 0x2, None) => {
                let fits = bytes <= self.most_bytes;
                if !fits {
                    self.replace(&[], hand_on, 0x1);
                } else if is_final {
                    self.count += 1;
                }
                if !is_final {
                    self.parts = Some(if fits { Parts::Fine { bytes, tail: [0; TAIL_BYTES] } } else { Parts::TooLarge });
                }
                fits
            }
            (0x0, Some(Parts::TooLarge)) => {
                if is_final {
                    self.parts = None;
                }
                false
            }
            (0x0, Some(Parts::Fine { bytes: before, tail })) => {
                let together = before.saturating_add(bytes);
                let fits = together <= self.most_bytes;
                if !fits {
                    self.replace(rest_of_character(&tail), hand_on, 0x0);
                } else if is_final {
                    self.count += 1;
                }
                self.parts = match (is_final, fits) {
                    (true, _) => None,
                    (false, true) => Some(Parts::Fine { bytes: together, tail }),
                    (false, false) => Some(Parts::TooLarge),
                };
                fits
            }
            _ => return self.lose(given, hand_on),
        };
        let fate = match (fits, opcode) {
            (false, _) => Fate::ThrownAway,
            (true, 0x8..) => Fate::HandedOn,
            (true, _) => Fate::Remembered,
        };
        if fits {
            hand_on(given);
        }
        self.place = if bytes == 0 { BETWEEN } else { Place::Bytes { done: 0, all: bytes, mask, fate } };
    }

    /// Hands on a message in place of a large one, or the end of what was handed on of it.
    fn replace(&mut self, bytes: &[u8], hand_on: &mut impl FnMut(&[u8]), opcode: u8) {
        // With a mask that changes nothing.
        hand_on(&[0x80 | opcode, 0x80 | bytes.len() as u8, 0, 0, 0, 0]);
        hand_on(bytes);
        self.replaced.push_back(self.count);
        self.count += 1;
    }

    fn lose(&mut self, given: &[u8], hand_on: &mut impl FnMut(&[u8])) {
        hand_on(given);
        self.place = Place::Lost;
    }
}

/// Notes how the bytes of a part end, of which `done` came before.
fn remember(tail: &mut [u8; TAIL_BYTES], bytes: &[u8], mask: [u8; 4], done: u64) {
    let first = bytes.len().saturating_sub(TAIL_BYTES);
    for (place, byte) in (done..).zip(bytes).skip(first) {
        tail.rotate_left(1);
        tail[TAIL_BYTES - 1] = byte ^ mask[(place % 4) as usize];
    }
}

/// What makes a character of the last bytes of a text that was cut off within one. Whatever has no ending at all is not
/// UTF-8, and was noticed before.
fn rest_of_character(tail: &[u8]) -> &'static [u8] {
    let Some(first) = tail.iter().rposition(|byte| byte & 0xc0 != 0x80) else { return &[] };
    let there = tail.len() - first;
    let whole = match tail[first] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    match (tail[first], there) {
        // Shorter forms of others are none.
        (0xe0, 1) => &[0xa0, 0x80],
        (0xf0, 1) => &[0x90, 0x80, 0x80],
        _ => &[0x80; TAIL_BYTES][..usize::saturating_sub(whole, there)],
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sieve<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Place::Lost = this.place
            && this.left_over.is_empty()
        {
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        }
        let before = buffer.filled().len();
        while this.left_over.is_empty() {
            let mut room = [MaybeUninit::uninit(); PIECE_BYTES];
            let most = match this.place {
                Place::Bytes { done, all, fate: Fate::ThrownAway, .. } => all - done,
                Place::Bytes { .. } | Place::Header(..) | Place::Lost => buffer.remaining().max(HEADER_BYTES) as u64,
            };
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let mut piece = ReadBuf::uninit(&mut room[..most]);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut left_over = Vec::new();
            this.sift(piece.filled(), |bytes| {
                let (fits, rest) = bytes.split_at(bytes.len().min(buffer.remaining()));
                buffer.put_slice(fits);
                left_over.extend_from_slice(rest);
            });
            this.left_over = left_over;
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        let fits = this.left_over.len().min(buffer.remaining());
        buffer.put_slice(&this.left_over[..fits]);
        this.left_over.drain(..fits);
        if this.left_over.is_empty() {
            this.left_over = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sieve<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x5a, 0, 0xff, 0x81];
    const FINAL: u8 = 0x80;
    const TEXT: u8 = 1;
    const BINARY: u8 = 2;
    const PING: u8 = 9;

    /// A frame as clients send it.
    fn frame(first: u8, bytes: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match bytes.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            medium @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((medium as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(bytes.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn stand_in(opcode: u8, bytes: &[u8]) -> Vec<u8> {
        [&[FINAL | opcode, 0x80 | bytes.len() as u8, 0, 0, 0, 0], bytes].concat()
    }

    /// What goes on of what is said, and which messages are there for large ones; however it comes in pieces.
    fn sifted(said: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
        let said = said.concat();
        let outcome = |piece: usize| {
            let (mut sieve, mut gone_on) = (Sieve::new((), 200), Vec::new());
            said.chunks(piece).for_each(|piece| sieve.sift(piece, |bytes| gone_on.extend_from_slice(bytes)));
            (gone_on, Vec::from(sieve.replaced))
        };
        let whole = outcome(said.len());
        for piece in [1, 2, 3, 5, 7, 64, 1_000] {
            assert_eq!(outcome(piece), whole, "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn what_is_small_goes_on_as_it_is() {
        let said = [
            frame(FINAL | TEXT, b"hello"),
            frame(TEXT, &[b'x'; 100]),
            frame(FINAL | PING, b"?"),
            frame(0, b""),
            frame(FINAL, &[b'x'; 100]),
            frame(FINAL | BINARY, &[0; 200]),
            frame(FINAL | 8, &[3, 232]),
        ];
        assert_eq!(sifted(&said), (said.concat(), vec![]));
    }

    #[test]
    fn a_short_message_goes_on_in_place_of_a_large_one() {
        let small = frame(FINAL | TEXT, b"small");
        for large in [frame(FINAL | TEXT, &[b'x'; 201]), frame(FINAL | BINARY, &[0; 70_000])] {
            let said = [small.clone(), large, small.clone()];
            assert_eq!(sifted(&said), ([small.clone(), stand_in(TEXT, b""), small.clone()].concat(), vec![1]));
        }
    }

    #[test]
    fn the_parts_of_a_message_count_together() {
        let (ping, small) = (frame(FINAL | PING, b"\xf0?"), frame(FINAL | TEXT, b"small"));
        let fits = [frame(TEXT, &[b'x'; 150]), frame(0, &[b'x'; 50])];
        let said =
            [&fits[..], &[ping.clone(), frame(0, b"x"), frame(0, &[b'x'; 5_000]), frame(FINAL, b""), small.clone()]].concat();
        let expected = [&fits[..], &[ping.clone(), stand_in(0, b""), small.clone()]].concat();
        assert_eq!(sifted(&said), (expected.concat(), vec![0]));
        let said = [frame(TEXT, &[b'x'; 201]), ping.clone(), frame(0, b"x"), frame(FINAL, b"x"), small.clone()];
        assert_eq!(sifted(&said), ([stand_in(TEXT, b""), ping, small].concat(), vec![0]));
    }

    /// Wherever in a character it is cut off: what went on must be text.
    #[test]
    fn a_text_that_is_cut_off_ends_with_a_whole_character() {
        for character in ["a", "\u{e9}", "\u{800}", "\u{ffff}", "\u{d7ff}", "\u{10000}", "\u{10ffff}", "\u{1f980}"] {
            for cut in 0..=character.len() {
                let begun = [b"xyz", &character.as_bytes()[..cut]].concat();
                let parts: Vec<_> = begun.chunks(2).enumerate().collect();
                let mut said: Vec<_> =
                    parts.iter().map(|(number, part)| frame(if *number == 0 { TEXT } else { 0 }, part)).collect();
                let mut expected = said.concat();
                said.push(frame(FINAL, &[b'x'; 200]));
                let (gone_on, replaced) = sifted(&said);
                assert_eq!(replaced, [0]);
                let end = gone_on.strip_prefix(expected.as_slice()).expect("the small parts go on");
                let rest = end[6..].to_vec();
                expected.extend(stand_in(0, &rest));
                assert_eq!(gone_on, expected);
                let text = String::from_utf8([begun, rest].concat()).expect("it is text");
                assert!(text.chars().count() <= 4, "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_against_the_protocol_goes_on_with_all_that_follows() {
        let follows = frame(FINAL | TEXT, &[b'x'; 500]);
        for wrong in [
            frame(FINAL, b"the rest of nothing"),
            frame(FINAL | 0x40 | TEXT, b"compressed"),
            frame(FINAL | 3, b"of no kind"),
            frame(FINAL | PING, &[0; 126]),
            frame(PING, b"in parts"),
            vec![FINAL | TEXT, 2, b'n', b'o'],
            [frame(TEXT, b"begun"), frame(TEXT, b"and begun again")].concat(),
        ] {
            let said = [wrong, follows.clone()];
            assert_eq!(sifted(&said), (said.concat(), vec![]));
        }
    }
}

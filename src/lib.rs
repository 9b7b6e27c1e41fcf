//! Dragoman: a chat server that speaks the dialects which chat clients already speak.

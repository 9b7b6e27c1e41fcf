#![doc = include_str!("README.md")]

pub mod admin;
pub mod auth;
pub mod blobs;
pub mod bus;
pub mod characters;
pub mod chat;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dialects;
pub mod error;
pub mod events;
pub mod keyed_semaphore;
pub mod lifecycle;
pub mod metrics;
pub mod networks;
pub mod outgoing;
pub mod pruning_map;
pub mod server;
pub mod shares;
pub mod telemetry;
pub mod token_bucket;
mod transaction;
pub mod web;
pub mod weighed;

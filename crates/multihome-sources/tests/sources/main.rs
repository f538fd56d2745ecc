//! The files of a host, below a root of their own.

mod cases;
mod defence;
mod dhclient;
mod hooks;
mod root;
mod watch;

//! What `ip route add` and `ip rule add` read.

//! What other programs of the network do: radvd, ndppd.

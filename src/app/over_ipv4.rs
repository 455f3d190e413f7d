//! What leaves over IPv4 is said in the log, at a start and at each reload.

use crate::config::Config;

/// An operator who reads the log sees what does not leave from accounts' own addresses.
pub(super) fn announce(config: &Config) {
    for (host, ipv4) in &config.egress.ipv4_hosts {
        tracing::info!(%host, source = %ipv4.source, "what is sent to this host leaves over IPv4, from a source that all \
            accounts share (egress.ipv4_hosts); orders never do");
    }
}

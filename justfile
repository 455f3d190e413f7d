# Shorthand for the commands that are used daily; CONTRIBUTING.md explains them. `just` lists the verbs.

_verbs:
    @just --list

# Run the gateway with the built-in broker beside it
run *arguments:
    cargo run -- serve --sandbox {{arguments}}

# Install what the tests need, and run them all
test:
    .ci/test

# Run the tests whose name holds this text
one name:
    cargo nextest run {{name}}

# What has to hold before a commit: format, clippy, documentation
check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    RUSTDOCFLAGS="-D rustdoc::broken_intra_doc_links -D warnings" cargo doc --no-deps --locked

# Measure beside HAProxy, nginx and Squid; `just bench latency` for one of the benchmarks
bench name="goals":
    cargo bench --bench {{name}}

# Fuzz the parsers for so many seconds
fuzz seconds:
    .ci/fuzz {{seconds}}

# Write the manual pages into target/man
man:
    cargo run -- man target/man

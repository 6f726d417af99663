//! `tarsier record`: one camera without a daemon.

//! Every environment variable that the library reads, parsed once.

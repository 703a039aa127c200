//! Empty: the manifest beside it says what this is for.

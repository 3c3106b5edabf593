//! TODO story

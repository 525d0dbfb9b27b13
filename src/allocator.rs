//! Keeps the allocator small: few arenas, and freed memory goes back to the system soon.
//!
//! With 100,000 records under load one arena takes 49 MiB, as many as the C library likes 74. With one, the threads that
//! answer and those that write wait for each other: with four, 64 writers write a third more for 2 MiB more (measured).

/// Has to be called before other threads are made.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "mallopt is a C function")]
pub fn keep_small() {
    const LARGE: libc::c_int = 128 << 10;
    /// Giving back less than this at a time costs more than it saves.
    const SPARE: libc::c_int = 1 << 20;
    for (parameter, value) in [(libc::M_ARENA_MAX, 4), (libc::M_TRIM_THRESHOLD, SPARE), (libc::M_MMAP_THRESHOLD, LARGE)]
    {
        // SAFETY: `mallopt` takes two integers, and no other thread exists yet that could be allocating.
        let accepted = unsafe { libc::mallopt(parameter, value) };
        debug_assert_eq!(accepted, 1);
    }
}

/// Gives memory back that was freed between what is still in use, as it is left after a crowd. Takes milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "malloc_trim is a C function")]
pub fn give_back() {
    // SAFETY: `malloc_trim` takes an integer, may be called at any time from any thread, and leaves what is in use alone.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators are taken as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_small() {}

/// Other allocators are taken as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}

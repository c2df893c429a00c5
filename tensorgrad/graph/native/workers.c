static void **arg;  // of the caller
static int mode;    // 0: gradients are wanted; else a step
static V *arenas[MOST_THREADS];

// A step is a row of tasks in phases, numbered on from step to step. Threads take the next one when all of the phases
// before its own are done: one that does not get to run has taken none, and nobody waits for it.
struct phase { void (*carry_out)(int task, int thread); int tasks; };
static const struct phase phases[PHASES];  // without an update GRADIENTS_DONE of them
static atomic_ulong first ALIGNED, end ALIGNED, next ALIGNED, done ALIGNED;  // tasks: of this step, taken, done

// Threads: the caller is number 0; the others wait for a step, awake for a moment and then asleep.
static int workers = 0;
static atomic_int asked[MOST_THREADS];  // how often each was: no other wakes it
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

#if defined(__x86_64__) || defined(__i386__)
#define RELAX __builtin_ia32_pause()
#else
#define RELAX ((void)0)
#endif

static double find_time(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// Wait for the others; without a processor if it takes long, for the one waited for may have none.
static double slept;  // seconds of the caller
static void wait_a_little(long turn, int thread) {
  if (turn < 1000) {
    RELAX;
    return;
  }
  const double from = find_time(CLOCK_MONOTONIC);
  if (turn < 1010) sched_yield();
  else nanosleep(&(struct timespec){0, 20000}, 0);
  if (thread == 0) slept += find_time(CLOCK_MONOTONIC) - from;
}

// Carry out tasks until all of the step are taken.
static void help(int thread) {
  for (long turn = 0;;) {
    const unsigned long last = atomic_load(&end);
    unsigned long start = atomic_load(&first), task = atomic_load(&next);
    if (task >= last) return;
    if (atomic_load(&first) != start) continue;  // another step began meanwhile
    const struct phase *phase = phases;
    while (task - start >= (unsigned long)phase->tasks) start += phase++->tasks;
    if (atomic_load(&done) < start) {
      wait_a_little(turn++, thread);
    } else if (atomic_compare_exchange_strong(&next, &task, task + 1)) {
      phase->carry_out((int)(task - start), thread);
      atomic_fetch_add(&done, 1);
      turn = 0;
    }
  }
}

static void *serve(void *number) {
  const int thread = (int)(intptr_t)number;
  for (int seen = 0;; seen++) {
    const double from = find_time(CLOCK_MONOTONIC);
    while (atomic_load(&asked[thread]) == seen && find_time(CLOCK_MONOTONIC) - from < 1e-4) RELAX;
    if (atomic_load(&asked[thread]) == seen) {
      pthread_mutex_lock(&lock);
      while (atomic_load(&asked[thread]) == seen) pthread_cond_wait(&wake, &lock);
      pthread_mutex_unlock(&lock);
    }
    help(thread);
  }
  return 0;
}

static void forget_workers(void) {  // a forked process has none
  workers = 0;
  for (int i = 0; i < MOST_THREADS; i++) atomic_store(&asked[i], 0);
  atomic_store(&next, atomic_load(&end));
  atomic_store(&done, atomic_load(&end));
  pthread_mutex_init(&lock, 0);
  pthread_cond_init(&wake, 0);
}

static int find_memory(int threads) {
  int found = 1;
  for (int i = 0; i < threads; i++) {
    if (!arenas[i]) arenas[i] = aligned_alloc(64, (sizeof(V) * ARENA + 63) / 64 * 64);
    found = found && arenas[i];
  }
  return found;
}

static void start_workers(int threads) {
  while (workers < threads - 1) {
    pthread_t thread;
    if (pthread_create(&thread, 0, serve, (void *)(intptr_t)(workers + 1))) break;
    pthread_detach(thread);
    workers++;
  }
}

// What steps cost the caller lately, alone and with help: the time that it computed and that it waited. Help does not
// pay in a small program, nor where another program keeps the helpers from their work. Of 64 steps two are made the
// other way; in the first of them the helpers wake up.
static double cost[2];
static long steps;
static int choose_help(void) {
  const int better = cost[1] * 1.1 < cost[0];  // who is woken is in the way of others, too
  return steps < 8 ? steps < 4 : steps % 64 < 2 ? !better : better;
}
static void learn(int helped, double seconds) {
  if (steps < 8) cost[helped] = steps % 4 ? fmin(cost[helped], seconds) : seconds;  // one may have had bad luck
  else if (steps % 64) cost[helped] += (seconds - cost[helped]) / (steps % 64 == 1 ? 4 : 16);
  steps++;
}

// Carry out one step with at most so many threads.
int step(void **arguments, int threads, int update) {
  static int watched;
  if (!watched) watched = !pthread_atfork(0, 0, forget_workers);
  if (threads > MOST_THREADS) threads = MOST_THREADS;
  if (!find_memory(threads)) return NO_MEMORY;
  start_workers(threads);
  const int helped = threads > 1 && choose_help();
  const double from = threads > 1 ? find_time(CLOCK_THREAD_CPUTIME_ID) : 0;
  slept = 0;
  arg = arguments;
  mode = update;
  result = STEPPED;
  unsigned long last = atomic_load(&end);
  atomic_store(&first, last);
  for (int i = 0; i < (mode ? PHASES : GRADIENTS_DONE); i++) last += phases[i].tasks;
  atomic_store(&end, last);
  if (helped) {
    pthread_mutex_lock(&lock);
    for (int i = 1; i < threads && i <= workers; i++) atomic_fetch_add(&asked[i], 1);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
  }
  help(0);
  for (long turn = 0; atomic_load(&done) < last; turn++) wait_a_little(turn, 0);
  if (threads > 1) learn(helped, find_time(CLOCK_THREAD_CPUTIME_ID) - from + slept);
  return result;
}

// Add what all slots hold to the first slot's: one of PARTS.
static void add_up_slots(real *sums, long size, int part) {
  const long n = size / 16;
  for (long i = n * part / PARTS * 16, to = n * (part + 1) / PARTS * 16; i < to; i++)
    for (int slot = 1; slot < SLOTS; slot++) sums[i] += sums[slot * size + i];
}

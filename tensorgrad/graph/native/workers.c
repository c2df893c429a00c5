static void **arg;  // of the caller
static int mode;    // 0: gradients are wanted; else a step of this kind, if negative of gradients that are given
static atomic_int troubles;  // of a step of given gradients: TROUBLES and which
static V *arenas[MOST_THREADS];

// A step is a row of phases of tasks, of which one is open. Every thread has a share of its tasks, the same in each step,
// whose numbers are in its cache; it takes these first, then those that others have not yet taken. One that does not get
// to run has taken none, and nobody waits for it.
struct phase { void (*carry_out)(int unit, int thread); int units; };
static const struct phase phases[PHASES];  // without an update GRADIENTS_DONE of them
static const struct phase *_Atomic current, *last;
static atomic_int sharing, left ALIGNED;  // threads; tasks of the phase that are not done
static _Atomic uint64_t opened ALIGNED;   // its number, counted from step to step; 0 if none is open
static struct { _Atomic uint64_t next ALIGNED; } shares[MOST_THREADS];  // that number, and a task's in the lower half

// Some units in a row are a task, where there are many: to take one costs 0.1 us.
static int count_tasks(const struct phase *phase, int threads) {
  return phase->units < 8 * threads ? phase->units : 8 * threads;
}

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
static void wait_a_little(double since, int thread) {
  const double from = find_time(CLOCK_MONOTONIC);
  if (from - since < 2e-4) {
    RELAX;
    return;
  }
  nanosleep(&(struct timespec){0, 20000}, 0);
  if (thread == 0) slept += find_time(CLOCK_MONOTONIC) - from;
}

// In a whole training step numbers below the smallest normal one are 0: the gradients of a network that is sure of what
// it says are full of such, and processors are slow with them.
#if defined(__SSE__)
static unsigned long flush(int wanted) {
  const unsigned before = __builtin_ia32_stmxcsr();
  if (wanted) __builtin_ia32_ldmxcsr(before | 0x8040);
  return before;
}
static void restore(unsigned long before) { __builtin_ia32_ldmxcsr((unsigned)before); }
#elif defined(__aarch64__)
static unsigned long flush(int wanted) {
  unsigned long before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  if (wanted) __asm__ volatile("msr fpcr, %0" : : "r"(before | 1ul << 24));
  return before;
}
static void restore(unsigned long before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
static unsigned long flush(int wanted) { return 0 * wanted; }
static void restore(unsigned long before) { (void)before; }
#endif

// Whoever still looks at the phase before takes nothing by what is read of this one: all shares are closed first.
static void open_phase(const struct phase *phase) {
  static uint64_t number;
  for (int s = 0; s < sharing; s++) atomic_store(&shares[s].next, 0);
  if (phase == last) {
    atomic_store(&opened, 0);
    return;
  }
  number++;
  atomic_store(&current, phase);
  const int tasks = count_tasks(phase, sharing);
  atomic_store(&left, tasks);
  for (int s = 0; s < sharing; s++) atomic_store(&shares[s].next, number << 32 | (uint64_t)(tasks * s / sharing));
  atomic_store(&opened, number);
}

// Carry out a task of the open phase, if one is left; who is done last opens the next phase. What is read here is of
// this phase if the task can be taken, for no other is opened before it is done.
static int carry_out_one(uint64_t number, int thread) {
  const struct phase *const phase = atomic_load(&current);
  const int many = atomic_load(&sharing), tasks = count_tasks(phase, many);
  for (int i = 0; i < many; i++) {
    const int share = (thread + i) % many;
    const uint64_t end = number << 32 | (uint64_t)(tasks * (share + 1) / many);
    uint64_t task = atomic_load(&shares[share].next);
    while (task >= number << 32 && task < end) {
      if (!atomic_compare_exchange_strong(&shares[share].next, &task, task + 1)) continue;
      const unsigned long before = flush(mode > 0);
      const long units = phase->units, from = (long)(uint32_t)task, to = units * (from + 1) / tasks;
      for (long unit = units * from / tasks; unit < to; unit++) phase->carry_out((int)unit, thread);
      restore(before);
      if (atomic_fetch_sub(&left, 1) == 1) open_phase(phase + 1);
      return 1;
    }
  }
  return 0;
}

// Carry out tasks until the step is made.
static void help(int thread) {
  double since = 0;  // when there was none to take
  for (uint64_t number; (number = atomic_load(&opened));) {
    if (carry_out_one(number, thread)) since = 0;
    else if (!since) since = find_time(CLOCK_MONOTONIC);
    else wait_a_little(since, thread);
  }
}

static void *serve(void *number) {
  const int thread = (int)(intptr_t)number;
  for (int seen = 0;; seen++) {
    const double from = find_time(CLOCK_MONOTONIC);
    while (atomic_load(&asked[thread]) == seen && find_time(CLOCK_MONOTONIC) - from < 3e-4) RELAX;
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
  atomic_store(&opened, 0);
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

static pthread_t helpers[MOST_THREADS];
static int near = -1;  // the processor that helpers keep away from
#ifdef __linux__
// Keep helpers from the caller's processor: after a rest the system wakes them there, beside an idle one. Whether there is
// another that they may use.
static int keep_apart(void) {
  static int apart = 1;
  const int here = sched_getcpu();
  if (here == near || here < 0) return apart;
  near = here;
  cpu_set_t others;
  if (sched_getaffinity(0, sizeof others, &others)) return apart;
  CPU_CLR(here, &others);
  apart = CPU_COUNT(&others) > 0;
  for (int i = 0; i < workers && apart; i++) pthread_setaffinity_np(helpers[i], sizeof others, &others);
  return apart;
}
#else
static int keep_apart(void) { return 1; }
#endif

static void start_workers(int threads) {
  while (workers < threads - 1) {
    if (pthread_create(&helpers[workers], 0, serve, (void *)(intptr_t)(workers + 1))) break;
    pthread_detach(helpers[workers]);
    workers++;
    near = -1;
  }
}

// What steps cost the caller lately, alone and with help: the time that it computed and that it waited. Help does not
// pay in a small program, nor where another program keeps the helpers from their work. Of 64 steps, at first of 16, one
// is made alone where help pays; where it does not, two with help, in the first of which the helpers wake up. Steps after
// a rest, in which helpers fell asleep, are counted apart: they say nothing of those that follow one another.
static struct steps { double cost[2]; long count; } kinds[2][2];
static int find_turn(const struct steps *its) { return (int)(its->count % (its->count < 128 ? 16 : 64)); }
static int does_help_pay(const struct steps *its) {
  return its->cost[1] * 1.1 < its->cost[0];  // who is woken is in the way of others, too
}
static int choose_help(const struct steps *its) {
  return its->count < 12 ? its->count < 8 : does_help_pay(its) ? find_turn(its) > 0 : find_turn(its) < 2;
}
static void learn(struct steps *its, int helped, double seconds) {
  const int turn = find_turn(its), rare = helped != does_help_pay(its);
  double *cost = &its->cost[helped];
  if (its->count >= 12) seconds = fmin(seconds, 4 * its->cost[!helped]);  // one may have had bad luck
  if (its->count < 12) *cost = turn % 8 ? fmin(*cost, seconds) : seconds;
  else if (turn || !helped) *cost += (seconds - *cost) / (rare ? 2 : 16);
  its->count++;
}

// Carry out one step with at most so many threads.
int step(void **arguments, int threads, int update) {
  static int watched;
  if (!watched) watched = !pthread_atfork(0, 0, forget_workers);
  if (threads > MOST_THREADS) threads = MOST_THREADS;
  if (!find_memory(threads)) return NO_MEMORY;
  start_workers(threads);
  static double ended;
  struct steps *const its = &kinds[update < 0][threads > 1 && find_time(CLOCK_MONOTONIC) - ended > 2e-3];
  const int helped = threads > 1 && keep_apart() && choose_help(its);
  const double from = threads > 1 ? find_time(CLOCK_THREAD_CPUTIME_ID) : 0;
  slept = 0;
  arg = arguments;
  mode = update;
  result = STEPPED;
  atomic_store(&troubles, 0);
  last = phases + (mode ? PHASES : GRADIENTS_DONE);
  atomic_store(&sharing, helped ? threads : 1);
  open_phase(phases + (mode < 0 ? GRADIENTS_DONE - 1 : 0));
  if (helped) {
    pthread_mutex_lock(&lock);
    for (int i = 1; i < threads && i <= workers; i++) atomic_fetch_add(&asked[i], 1);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
  }
  help(0);
  if (threads > 1) learn(its, helped, find_time(CLOCK_THREAD_CPUTIME_ID) - from + slept);
  if (threads > 1) ended = find_time(CLOCK_MONOTONIC);
  return result ? result : atomic_load(&troubles);
}

// Add what all slots hold to the first slot's: one of PARTS.
static void add_up_slots(real *sums, long size, int part) {
  const long n = size / 16;
  for (long i = n * part / PARTS * 16, to = n * (part + 1) / PARTS * 16; i < to; i++)
    for (int slot = 1; slot < SLOTS; slot++) sums[i] += sums[slot * size + i];
}

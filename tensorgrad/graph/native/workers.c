static void **arg;  // of the caller
static int mode;    // 0: gradients are wanted; else a step
static V *arenas[MOST_THREADS];

// Threads: the caller is number 0; the others wait for a step, awake for a moment and then asleep.
static int workers = 0, using = 1;
static atomic_int steps[MOST_THREADS], arrived, turns, finished;  // a thread's own steps: no other wakes it
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static void work(int thread);

#if defined(__x86_64__) || defined(__i386__)
#define RELAX __builtin_ia32_pause()
#else
#define RELAX ((void)0)
#endif
#define WAIT_WHILE(condition) for (long i = 0; condition; i++) { if (i < 2000) RELAX; else sched_yield(); }

// Wait until all threads are here.
static void meet(void) {
  if (using == 1) return;
  const int turn = atomic_load(&turns);
  if (atomic_fetch_add(&arrived, 1) == using - 1) {
    atomic_store(&arrived, 0);
    atomic_fetch_add(&turns, 1);
  } else {
    WAIT_WHILE(atomic_load(&turns) == turn)
  }
}

static void *serve(void *number) {
  const int thread = (int)(intptr_t)number;
  for (int seen = 0;; seen++) {
    for (int i = 0; i < 4000 && atomic_load(&steps[thread]) == seen; i++) RELAX;
    if (atomic_load(&steps[thread]) == seen) {
      pthread_mutex_lock(&lock);
      while (atomic_load(&steps[thread]) == seen) pthread_cond_wait(&wake, &lock);
      pthread_mutex_unlock(&lock);
    }
    work(thread);
    atomic_fetch_add(&finished, 1);
  }
  return 0;
}

static void forget_workers(void) {  // a forked process has none
  workers = 0;
  for (int i = 0; i < MOST_THREADS; i++) atomic_store(&steps[i], 0);
  atomic_store(&arrived, 0);
  pthread_mutex_init(&lock, 0);
  pthread_cond_init(&wake, 0);
}

static int find_memory(int threads) {
  int found = 1;
  for (int i = 0; i < threads; i++) {
    if (!arenas[i]) arenas[i] = aligned_alloc(64, sizeof(V) * ARENA);
    found = found && arenas[i];
  }
  return found;
}

// Carry out one step with at most so many threads.
int step(void **arguments, int threads, int update) {
  static int watched;
  if (!watched) watched = !pthread_atfork(0, 0, forget_workers);
  if (threads > MOST_THREADS) threads = MOST_THREADS;
  if (!find_memory(threads)) return NO_MEMORY;
  arg = arguments;
  mode = update;
  result = STEPPED;
  while (workers < threads - 1) {
    pthread_t thread;
    if (pthread_create(&thread, 0, serve, (void *)(intptr_t)(workers + 1))) break;
    pthread_detach(thread);
    workers++;
  }
  using = threads < workers + 1 ? threads : workers + 1;
  if (using > 1) {
    atomic_store(&finished, 0);
    pthread_mutex_lock(&lock);
    for (int i = 1; i < using; i++) atomic_fetch_add(&steps[i], 1);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
  }
  work(0);
  WAIT_WHILE(atomic_load(&finished) < using - 1 && using > 1)
  return result;
}

// Add what all slots hold to the first slot's.
static void add_up_slots(real *sums, long size, int thread) {
  const long n = size / 16;
  for (long i = n * thread / using * 16, end = n * (thread + 1) / using * 16; i < end; i++)
    for (int slot = 1; slot < SLOTS; slot++) sums[i] += sums[slot * size + i];
}

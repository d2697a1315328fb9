/* Rows of pixels of three bytes, copied as they are or mirrored. Where this is not compiled, _view.py has NumPy's and torch's way.

   "streamed" is for pictures that come from memory and go there: rows of a crop lie apart, so that the processor cannot guess
   which it needs next and is told some rows ahead; and what is written goes past the caches, so that it is not read first. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if !defined(__x86_64__)
#error "mirrors with SSSE3: other processors take the slower way"
#endif

#include <stdint.h>
#include <string.h>
#include <tmmintrin.h>

#define PIXEL 3
#define VECTOR 16
#define BLOCK 48 /* bytes: as many pixels as a vector has bytes */
#define LINE 64  /* bytes of a cache */
#define AHEAD 4  /* rows */

typedef struct {
    uint8_t *first;
    Py_ssize_t pitch; /* bytes from a row to the next */
} Rows;

typedef struct {
    Py_ssize_t rows, bytes; /* of a row */
    int mirrored, streamed;
} Task;

static inline void put(uint8_t *to, __m128i bytes, int past_caches)
{
    if (past_caches)
        _mm_stream_si128((__m128i *)to, bytes);
    else
        _mm_storeu_si128((__m128i *)to, bytes);
}

/* Sixteen pixels backwards. A negative number makes a zero, so that what comes from several vectors is put together by "or". */
__attribute__((target("ssse3"))) static inline void mirror_block(uint8_t *to, const uint8_t *from, int past_caches)
{
    __m128i a = _mm_loadu_si128((const __m128i *)from), b = _mm_loadu_si128((const __m128i *)(from + VECTOR)),
            c = _mm_loadu_si128((const __m128i *)(from + 2 * VECTOR));
    const __m128i first_of_b = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 14),
                  first_of_c = _mm_setr_epi8(13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, -1),
                  second_of_a = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 15, -1),
                  second_of_b = _mm_setr_epi8(15, -1, 11, 12, 13, 8, 9, 10, 5, 6, 7, 2, 3, 4, -1, 0),
                  second_of_c = _mm_setr_epi8(-1, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1),
                  third_of_a = _mm_setr_epi8(-1, 12, 13, 14, 9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2),
                  third_of_b = _mm_setr_epi8(1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m128i second = _mm_or_si128(_mm_shuffle_epi8(b, second_of_b), _mm_shuffle_epi8(c, second_of_c));
    put(to, _mm_or_si128(_mm_shuffle_epi8(c, first_of_c), _mm_shuffle_epi8(b, first_of_b)), past_caches);
    put(to + VECTOR, _mm_or_si128(second, _mm_shuffle_epi8(a, second_of_a)), past_caches);
    put(to + 2 * VECTOR, _mm_or_si128(_mm_shuffle_epi8(a, third_of_a), _mm_shuffle_epi8(b, third_of_b)), past_caches);
}

__attribute__((target("ssse3"))) static void mirror_row(uint8_t *to, const uint8_t *from, Py_ssize_t bytes, int past_caches)
{
    const uint8_t *end = from + bytes;
    Py_ssize_t done = 0;
    for (; bytes - done >= BLOCK; done += BLOCK)
        mirror_block(to + done, end - done - BLOCK, past_caches);
    for (; done < bytes; done += PIXEL)
        memcpy(to + done, end - done - PIXEL, PIXEL);
}

static void copy_row(uint8_t *to, const uint8_t *from, Py_ssize_t bytes, int past_caches)
{
    if (!past_caches) {
        memmove(to, from, bytes);
        return;
    }
    for (Py_ssize_t done = 0; done < bytes; done += VECTOR)
        put(to + done, _mm_loadu_si128((const __m128i *)(from + done)), 1);
}

/* "spare" is room for a row, where rows are mirrored in their place. */
static void copy_rows(Rows to, Rows from, Task task, uint8_t *spare)
{
    int aligned = ((uintptr_t)to.first | task.bytes) % VECTOR == 0 && (task.rows == 1 || to.pitch % VECTOR == 0);
    int past_caches = task.streamed && aligned;
    for (Py_ssize_t row = 0; row < task.rows; row++, from.first += from.pitch, to.first += to.pitch) {
        if (task.streamed && row + AHEAD < task.rows)
            for (Py_ssize_t byte = 0; byte < task.bytes; byte += LINE)
                _mm_prefetch((const char *)from.first + AHEAD * from.pitch + byte, _MM_HINT_T0);
        if (spare != NULL)
            memcpy(spare, from.first, task.bytes);
        if (task.mirrored)
            mirror_row(to.first, spare != NULL ? spare : from.first, task.bytes, past_caches);
        else
            copy_row(to.first, from.first, task.bytes, past_caches);
    }
    _mm_sfence();
}

static void copy_all(Rows to, Rows from, Task task, uint8_t *spare)
{
    if (!task.mirrored && to.pitch == task.bytes && from.pitch == task.bytes) /* one long row */
        task = (Task){1, task.rows * task.bytes, 0, task.streamed};
    copy_rows(to, from, task, spare);
}

/* Pixels of three bytes side by side, rows anywhere. */
static int are_pixels(const Py_buffer *array)
{
    return array->ndim == 3 && array->itemsize == 1 && array->shape[2] == PIXEL && array->strides[2] == 1 &&
           (array->strides[1] == PIXEL || array->shape[1] == 1);
}

static PyObject *copy_pixels(const Py_buffer *source, const Py_buffer *target, int mirrored, int streamed)
{
    Rows from = {source->buf, source->strides[0]}, to = {target->buf, target->strides[0]};
    Task task = {source->shape[0], source->shape[1] * PIXEL, mirrored, streamed};
    uint8_t *spare = NULL;
    if (mirrored && from.first == to.first && (spare = PyMem_Malloc(task.bytes)) == NULL)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    copy_all(to, from, task, spare);
    Py_END_ALLOW_THREADS
    PyMem_Free(spare);
    Py_RETURN_NONE;
}

static PyObject *copy_if_alike(const Py_buffer *source, const Py_buffer *target, int mirrored, int streamed)
{
    if (are_pixels(source) && are_pixels(target) && source->shape[0] == target->shape[0] &&
        source->shape[1] == target->shape[1])
        return copy_pixels(source, target, mirrored, streamed);
    PyErr_SetString(PyExc_ValueError, "two arrays of as many pixels, uint8 (H, W, 3), were expected");
    return NULL;
}

static PyObject *copy(PyObject *module, PyObject *arguments)
{
    PyObject *from, *to, *done = NULL;
    int mirrored, streamed;
    Py_buffer source, target;
    if (!PyArg_ParseTuple(arguments, "OOpp", &from, &to, &mirrored, &streamed) ||
        PyObject_GetBuffer(from, &source, PyBUF_STRIDES) < 0)
        return NULL;
    if (PyObject_GetBuffer(to, &target, PyBUF_STRIDES | PyBUF_WRITABLE) == 0) {
        done = copy_if_alike(&source, &target, mirrored, streamed);
        PyBuffer_Release(&target);
    }
    PyBuffer_Release(&source);
    return done;
}

static PyMethodDef methods[] = {{"copy", copy, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_crop_copy", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__crop_copy(void)
{
    if (!__builtin_cpu_supports("ssse3")) {
        PyErr_SetString(PyExc_ImportError, "this processor has no SSSE3");
        return NULL;
    }
    return PyModule_Create(&module);
}

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
#define STEP 5  /* pixels that one shuffle of 16 bytes mirrors */
#define LINE 64 /* bytes of a cache */
#define AHEAD 4 /* rows */

typedef struct {
    uint8_t *first;
    Py_ssize_t pitch; /* bytes from a row to the next */
} Rows;

__attribute__((target("ssse3"))) static void mirror(uint8_t *to, const uint8_t *from, Py_ssize_t bytes)
{
    const __m128i order = _mm_setr_epi8(13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, 0);
    const uint8_t *end = from + bytes;
    Py_ssize_t done = 0;
    for (; bytes - done >= 16; done += STEP * PIXEL) { /* the last byte of each 16 is overwritten by the next */
        __m128i pixels = _mm_loadu_si128((const __m128i *)(end - done - 16));
        _mm_storeu_si128((__m128i *)(to + done), _mm_shuffle_epi8(pixels, order));
    }
    for (; done < bytes; done += PIXEL)
        memcpy(to + done, end - done - PIXEL, PIXEL);
}

/* To a multiple of 16, and as many bytes. */
static void stream(uint8_t *to, const uint8_t *from, Py_ssize_t bytes)
{
    for (Py_ssize_t done = 0; done < bytes; done += 16)
        _mm_stream_si128((__m128i *)(to + done), _mm_loadu_si128((const __m128i *)(from + done)));
}

static void copy_rows(Rows to, Rows from, Py_ssize_t rows, Py_ssize_t bytes, uint8_t *mirrored, int streamed)
{
    int even = ((uintptr_t)to.first | to.pitch | bytes) % 16 == 0;
    for (Py_ssize_t row = 0; row < rows; row++, from.first += from.pitch, to.first += to.pitch) {
        if (streamed && row + AHEAD < rows)
            for (Py_ssize_t byte = 0; byte < bytes; byte += LINE)
                _mm_prefetch((const char *)from.first + AHEAD * from.pitch + byte, _MM_HINT_T0);
        if (mirrored)
            mirror(mirrored, from.first, bytes);
        if (streamed && even)
            stream(to.first, mirrored ? mirrored : from.first, bytes);
        else
            memmove(to.first, mirrored ? mirrored : from.first, bytes);
    }
    _mm_sfence();
}

/* Pixels of three bytes side by side, rows anywhere. */
static int are_pixels(const Py_buffer *array)
{
    return array->ndim == 3 && array->itemsize == 1 && array->shape[2] == PIXEL && array->strides[2] == 1 &&
           (array->strides[1] == PIXEL || array->shape[1] == 1);
}

static PyObject *copy_pixels(const Py_buffer *source, const Py_buffer *target, int mirrored, int streamed)
{
    if (!are_pixels(source) || !are_pixels(target) || source->shape[0] != target->shape[0] ||
        source->shape[1] != target->shape[1])
        return PyErr_Format(PyExc_ValueError, "two arrays of the same pixels (H, W, 3), 8-bit, were expected");
    Py_ssize_t bytes = source->shape[1] * PIXEL;
    uint8_t *row = mirrored ? PyMem_Malloc(bytes) : NULL;
    if (mirrored && row == NULL)
        return PyErr_NoMemory();
    Rows to = {target->buf, target->strides[0]}, from = {source->buf, source->strides[0]};
    int together = !mirrored && to.pitch == bytes && from.pitch == bytes;
    Py_BEGIN_ALLOW_THREADS
    if (together)
        memmove(to.first, from.first, source->shape[0] * bytes);
    else
        copy_rows(to, from, source->shape[0], bytes, row, streamed);
    Py_END_ALLOW_THREADS
    PyMem_Free(row);
    Py_RETURN_NONE;
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
        done = copy_pixels(&source, &target, mirrored, streamed);
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
